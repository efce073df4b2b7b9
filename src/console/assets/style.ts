/** The stylesheet of every page. */
export const style = `
:root{color-scheme:light dark;--bg:#fbfaf8;--panel:#fff;--ink:#1d2126;--quiet:#5c636c;--line:#e3e0da;--soft:#f2f0ec;--link:#1c5a8d;
--up:#23703c;--warn:#8a5a00;--bad:#a3302a;--off:#5c636c;--start:#1c5a8d;--focus:#0b6bcb;
--mono:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
@media(prefers-color-scheme:dark){:root{--bg:#14171a;--panel:#1a1e22;--ink:#e4e6e8;--quiet:#a0a8b0;--line:#2d3339;--soft:#21262b;--link:#86bdf0;
--up:#74c58d;--warn:#e0b25c;--bad:#f08d84;--off:#a0a8b0;--start:#86bdf0;--focus:#7ab8ff}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-variant-numeric:tabular-nums}
a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
main a,.notice a{text-decoration:underline;text-decoration-color:color-mix(in srgb,currentColor 35%,transparent);text-underline-offset:2px}
:focus-visible{outline:2px solid var(--focus);outline-offset:2px;border-radius:3px}
main:focus{outline:none}
[hidden]{display:none!important}
.skip{position:absolute;left:-999px;top:0;padding:.5rem 1rem;background:var(--panel);z-index:3}.skip:focus{left:0}
.sr{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
header,.standing,main,footer{max-width:76rem;margin:0 auto;padding:0 1.5rem}
header{display:flex;flex-wrap:wrap;align-items:baseline;gap:.25rem 2rem;padding-top:1.1rem}
.brand{font-weight:650;color:var(--ink);letter-spacing:-.01em;padding:.25rem 0}
.brand small{font:.8125rem var(--mono);color:var(--quiet);margin-left:.6rem}
nav ul{display:flex;flex-wrap:wrap;gap:.1rem .2rem;list-style:none;margin:0 0 0 -.6rem;padding:0}
nav a{display:block;padding:.25rem .6rem;color:var(--quiet);border-radius:5px}
nav a:hover{color:var(--ink);background:var(--soft);text-decoration:none}
nav a[aria-current]{color:var(--ink);font-weight:600;box-shadow:inset 0 -2px var(--ink);border-radius:0}
.standing{display:flex;flex-wrap:wrap;align-items:center;gap:.2rem .8rem;margin-top:.7rem;padding-top:.45rem;padding-bottom:.45rem;color:var(--quiet);font-size:.875rem;position:sticky;top:0;background:var(--bg);z-index:2}
.standing>div{flex:1 1 12rem;min-width:0}
.standing:after{content:"";position:absolute;left:1.5rem;right:1.5rem;bottom:0;border-bottom:1px solid var(--line)}
.mark{font-weight:600;margin-right:.7rem;white-space:nowrap}.mark svg{width:.8em;height:.8em;margin-right:.4em;vertical-align:-.05em;fill:currentColor}
.live .mark{color:var(--up)}.stale .mark,.unknown .mark,.paused .mark{color:var(--warn)}.disconnected .mark{color:var(--bad)}
.claim{margin-right:.7rem}.why{overflow-wrap:anywhere}
.stale .why,.unknown .why{color:var(--warn)}.disconnected .why{color:var(--bad)}
body.behind main{border-left:3px solid var(--warn)}body.lost main{border-left:3px solid var(--bad)}
main{padding-top:1.4rem;padding-bottom:3rem;min-height:60vh}
h1{font-size:1.6rem;line-height:1.2;font-weight:650;letter-spacing:-.02em;margin:0 0 .3rem;overflow-wrap:anywhere}
h2{font-size:1rem;font-weight:650;margin:2.2rem 0 .5rem}
p{margin:.4rem 0;max-width:46rem}
h1.mono{font-size:1.25rem;letter-spacing:0}.crumbs{font-size:.875rem;color:var(--quiet);margin:0 0 .3rem}
.lead,.quiet,small{color:var(--quiet)}
.mono,code,pre{font-family:var(--mono);font-size:.8125rem;overflow-wrap:anywhere}
pre{background:var(--soft);border-radius:6px;padding:.8rem 1rem;margin:.5rem 0;white-space:pre-wrap;max-height:32rem;overflow:auto}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:1.2rem 2rem;margin:1.2rem 0 .4rem;padding:0}
.figures>div{border-top:1px solid var(--line);padding-top:.5rem}
.figures dt{color:var(--quiet);font-size:.875rem}.figures dd{margin:0;font-size:1.55rem;line-height:1.25;letter-spacing:-.02em;overflow-wrap:anywhere}
.figures dd small{font-size:.875rem;letter-spacing:0;display:block;line-height:1.4;margin-top:.15rem}
.facts{display:grid;grid-template-columns:minmax(7rem,11rem) 1fr;gap:.35rem 1.2rem;margin:.8rem 0}
.facts dt{color:var(--quiet)}.facts dd{margin:0;overflow-wrap:anywhere;min-width:0}
.spark{width:100%;height:2.1rem;display:block;overflow:visible;margin-top:.35rem}
td .spark{width:6rem;height:1.25rem;margin:0}
.spark polyline{fill:none;stroke:var(--link);stroke-width:1.5;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.bar{width:100%;height:6px;display:block;border-radius:3px;background:var(--soft);margin-top:.3rem}
.bar rect.up{fill:var(--up)}.bar rect.off{fill:var(--off)}.bar rect.starting{fill:var(--start)}.bar rect.draining{fill:var(--warn)}.bar rect.down,.bar rect.rejected{fill:var(--bad)}
.state{white-space:nowrap}.state svg{width:.8em;height:.8em;margin-right:.4em;vertical-align:-.04em;fill:currentColor}
.o{fill:none;stroke:currentColor;stroke-width:1.5}
.state.up{color:var(--up)}.state.starting{color:var(--start)}.state.draining{color:var(--warn)}.state.down,.state.rejected{color:var(--bad)}.state.off,.state.left{color:var(--off)}
.counts{display:inline-flex;flex-wrap:wrap;gap:.1rem .9rem}
.table{margin:.4rem 0}
table{border-collapse:collapse;width:100%}
caption{text-align:left;color:var(--quiet);font-size:.875rem;padding:.2rem 0 .4rem}
th,td{text-align:left;vertical-align:top;padding:.42rem 1.1rem .42rem 0;border-bottom:1px solid var(--line)}
th:last-child,td:last-child{padding-right:0}
thead th{font-weight:500;font-size:.8125rem;color:var(--quiet);white-space:nowrap}
thead a{color:inherit;text-decoration:none;display:inline-block;min-height:24px}th[aria-sort] a{color:var(--ink);font-weight:600}
tbody th{font-weight:500;overflow-wrap:anywhere;min-width:7rem}
td{overflow-wrap:anywhere}.num{text-align:right}td.nowrap{white-space:nowrap}
tbody tr:hover{background:color-mix(in srgb,var(--soft) 60%,transparent)}
tr.new{animation:new 1.6s ease-out}@keyframes new{from{background:color-mix(in srgb,var(--link) 18%,transparent)}}
tr.gone{opacity:.45}tr.gone th,tr.gone td{text-decoration:line-through}
.empty{padding:1.2rem 0;color:var(--quiet)}
form{display:flex;flex-wrap:wrap;gap:.5rem .7rem;align-items:end;margin:1rem 0 .4rem}
label{font-size:.8125rem;color:var(--quiet);display:grid;gap:.15rem}
input,select,button,.button{font:inherit;color:inherit;background:var(--panel);border:1px solid color-mix(in srgb,var(--quiet) 65%,transparent);border-radius:6px;padding:.3rem .65rem;min-height:2.2rem}
input[type=search]{width:min(24rem,100%)}input[type=number]{width:8rem}
button,.button{cursor:pointer;text-decoration:none}button:hover,.button:hover{background:var(--soft)}
.standing button{min-height:1.75rem;padding:.05rem .6rem;font-size:.8125rem}
.pages{display:flex;gap:1rem;align-items:center;margin:.8rem 0;color:var(--quiet)}
.notice{border-left:3px solid var(--line);padding:.15rem 0 .15rem .9rem;margin:1rem 0}.notice.bad{border-color:var(--bad)}.notice.warn{border-color:var(--warn)}.notice.ok{border-color:var(--up)}
.operate{display:flex;flex-wrap:wrap;gap:.5rem .7rem;align-items:end}.operate form{margin:0}ol.steps{list-style:none;padding:0;margin:.2rem 0;display:flex;flex-wrap:wrap;gap:.1rem .6rem}ol.steps li:not(:last-child):after{content:"→";color:var(--quiet);margin-left:.6rem}
ol.steps .todo{color:var(--quiet)}
.list{list-style:none;margin:.3rem 0;padding:0}.list li{padding:.3rem 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
.waiting{position:sticky;bottom:1rem;background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:.35rem .8rem;width:max-content;max-width:100%;font-size:.875rem;box-shadow:0 2px 10px #0002}
ins,del{text-decoration:none;display:block}ins:before{content:"+ "}del:before{content:"− "}ins{color:var(--up)}del{color:var(--bad)}pre span{display:block}pre span:before{content:"  "}
footer{color:var(--quiet);font-size:.8125rem;padding-top:1rem;padding-bottom:2rem}
@media(max-width:44rem){header,.standing,main,footer{padding-left:1rem;padding-right:1rem}.standing:after{left:1rem;right:1rem}
header{gap:.2rem 1rem}.facts{grid-template-columns:1fr;gap:.1rem}.facts dd{margin-bottom:.5rem}
table,tbody,tr,td,tbody th,caption{display:block}thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
tbody tr{padding:.55rem 0;border-bottom:1px solid var(--line)}tbody td,tbody th{border:0;padding:.08rem 0;display:grid;grid-template-columns:7rem 1fr;gap:.6rem}
tbody td[data-label]:before{content:attr(data-label);color:var(--quiet);font:.8125rem system-ui,sans-serif}tbody td>*{min-width:0}tbody td:empty{display:none}tbody th{display:block;font-size:1rem}.num{text-align:left}td.nowrap{white-space:normal}}
@media(prefers-reduced-motion:reduce){*{animation:none!important}}
`.trim()
