/** The script of every page: live rows, pause, relative times, filters without a reload, and the keyboard. */
export const script = `
const $ = (selector, root = document) => root.querySelector(selector)
const $$ = (selector, root = document) => Array.from(root.querySelectorAll(selector))
const body = document.body
const offset = Date.now() - Number(body.dataset.now)
const limits = [Number(body.dataset.stale), Number(body.dataset.lost)]
const store = {
  get: (name) => { try { return localStorage.getItem(name) } catch { return null } },
  set: (name, value) => { try { localStorage.setItem(name, value) } catch { /* not allowed here */ } }
}
let version = body.dataset.version
let events, isPaused = store.get("paused") === "1", isCut = false, pending = new Map()

const ago = (millis) => {
  const seconds = Math.max(0, Math.floor(millis / 1000))
  if (seconds < 60) return seconds + " s"
  if (seconds < 3600) return Math.floor(seconds / 60) + " min"
  return seconds < 86400 ? Math.floor(seconds / 3600) + " h" : Math.floor(seconds / 86400) + " d"
}

// Times are relative to the console's clock, not to the browser's.
const tick = () => {
  const now = Date.now() - offset
  for (const time of $$("time[datetime]", document)) {
    const at = Date.parse(time.dateTime)
    const text = at > now + 1500 ? "in " + ago(at - now) : ago(now - at) + " ago"
    if (time.textContent !== text) time.textContent = text
  }
  const known = $(".known")
  let state = known.dataset.state
  const age = now - Number(known.dataset.confirmed)
  if (state !== "unknown") {
    if (age >= limits[1]) state = "disconnected"
    else if (state === "live" && age >= limits[0]) state = "stale"
  }
  if (isCut && state === "live") state = "stale"
  if (isPaused) state = state === "live" ? "paused" : state
  show(known, state)
}

const words = { live: "Live", stale: "Stale", disconnected: "Disconnected", unknown: "Nothing known yet", paused: "Paused" }
let said
const show = (known, state) => {
  known.className = "known " + state
  const word = $(".mark b", known)
  if (word.textContent !== words[state]) {
    $(".mark use", known).setAttribute("href", "#m-" + state)
    word.textContent = words[state]
  }
  if (said !== undefined && said !== state) say(words[state])
  said = state
  const cut = $(".cut", known)
  cut.hidden = !isCut
  body.classList.toggle("behind", state === "stale")
  body.classList.toggle("lost", state === "disconnected")
}

// Announce one sentence at a time, at most every five seconds.
let sayNext = "", sayTimer
const say = (text) => {
  sayNext = text
  sayTimer ??= setTimeout(() => { $("#status").textContent = sayNext; sayTimer = undefined }, 5000)
  if ($("#status").textContent === "") $("#status").textContent = text
}

const parse = (text) => { const template = document.createElement("template"); template.innerHTML = text; return template.content }

// Updates one node to match another. Unchanged parts stay, and keep focus and selection.
const morph = (from, to) => {
  if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName) return from.replaceWith(to)
  if (from.nodeType === 3) { if (from.data !== to.data) from.data = to.data; return }
  if (from.nodeType !== 1) return
  if (from.nodeName === "DETAILS") to.open = from.open
  for (const { name } of Array.from(from.attributes)) if (!to.hasAttribute(name)) from.removeAttribute(name)
  for (const { name, value } of Array.from(to.attributes)) if (from.getAttribute(name) !== value) from.setAttribute(name, value)
  if (from.nodeName === "INPUT" && from !== document.activeElement) from.value = to.value
  morphChildren(from, to)
}
const morphChildren = (from, to) => {
  const next = Array.from(to.childNodes)
  next.forEach((node, index) => { const old = from.childNodes[index]; old ? morph(old, node) : from.append(node) })
  while (from.childNodes.length > next.length) from.lastChild.remove()
}

const rowsOf = (table) => new Map($$("tbody > tr", table).map((row) => [row.dataset.key, row]))
const isBusy = (table) => table.matches(":hover") || (table.contains(document.activeElement) && $("tbody", table).contains(document.activeElement))

const order = (table, keys, fresh) => {
  const rows = rowsOf(table), tbody = $("tbody", table), wanted = new Set(keys)
  for (const [key, row] of rows) if (!wanted.has(key)) row.remove()
  keys.forEach((key, index) => {
    const row = rows.get(key) ?? fresh.get(key)
    if (row && tbody.children[index] !== row) tbody.insertBefore(row, tbody.children[index] ?? null)
  })
  $(".empty", table).hidden = keys.length > 0
}

// While the pointer or the focus is in a table, rows change in place; changes that would move rows wait.
const settle = () => {
  for (const [id, waits] of pending) {
    const table = $('[data-table="' + id + '"]')
    if (!table) pending.delete(id)
    else if (!isBusy(table)) { order(table, waits.keys, waits.fresh); pending.delete(id) }
  }
  $("#waiting").hidden = pending.size === 0
}

const apply = ({ live, tables }) => {
  let changed = 0
  for (const [id, content] of live) {
    const [name, part] = id.split(" ")
    const target = part === undefined ? $('[data-live="' + name + '"]') :
      $('[data-table="' + name + '"] ' + (part === "caption" ? "caption" : ".empty"))
    if (!target) continue
    const next = target.cloneNode(false)
    next.append(parse(content))
    morphChildren(target, next)
  }
  for (const { id, order: keys, rows: patches } of tables) {
    const table = $('[data-table="' + id + '"]')
    if (!table) continue
    const rows = rowsOf(table), waits = pending.get(id) ?? { fresh: new Map(), keys: undefined }
    for (const [key, text] of patches) {
      const row = $("tr", parse("<table><tbody>" + text + "</tbody></table>"))
      const old = rows.get(key) ?? waits.fresh.get(key)
      changed++
      if (old) morph(old, row)
      else { row.classList.add("new"); waits.fresh.set(key, row) }
    }
    if (keys) {
      waits.keys = keys
      const wanted = new Set(keys)
      for (const [key, row] of rows) row.classList.toggle("gone", !wanted.has(key))
      pending.set(id, waits)
    }
  }
  settle()
  tick()
  if (changed > 0) say(changed === 1 ? "1 row changed" : changed + " rows changed")
}

const listen = () => {
  events?.close()
  events = undefined
  if (isPaused || document.hidden || body.dataset.events === undefined) return
  const here = location.pathname.slice(body.dataset.path.length) + location.search
  events = new EventSource(body.dataset.events + "?page=" + encodeURIComponent(here || "/") + "&from=" + version)
  events.addEventListener("open", () => { isCut = false; tick() })
  events.addEventListener("patch", (event) => { version = event.lastEventId; isCut = false; apply(JSON.parse(event.data)) })
  events.addEventListener("reload", () => go(location.href, false))
  events.addEventListener("error", () => {
    isCut = true
    tick()
    // A browser does not reconnect after a response that is not a stream, such as one from a proxy.
    if (events.readyState === 2) setTimeout(listen, 3000)
  })
}

// Follows a link to the same page with another filter, without a reload.
let wanted = ""
const go = async (href, isNew) => {
  wanted = href
  let text
  try { const response = await fetch(href, { headers: { accept: "text/html" } }); text = await response.text() } catch { isCut = true; return tick() }
  if (wanted !== href) return
  const next = new DOMParser().parseFromString(text, "text/html")
  if (!$("main", next)) return void location.assign(href)
  history[isNew ? "pushState" : "replaceState"](null, "", href)
  version = next.body.dataset.version
  pending.clear()
  morph($("main"), $("main", next))
  morph($(".known"), $(".known", next))
  tick()
  listen()
}

const pause = $("#pause")
const showPause = () => {
  pause.setAttribute("aria-pressed", String(isPaused))
  pause.textContent = isPaused ? "Resume" : "Pause"
}
pause.hidden = false
pause.addEventListener("click", () => {
  isPaused = !isPaused
  store.set("paused", isPaused ? "1" : "0")
  showPause()
  listen()
  tick()
})
document.addEventListener("visibilitychange", listen)
document.addEventListener("pointerout", () => setTimeout(settle, 50))
document.addEventListener("focusout", () => setTimeout(settle, 50))
$("#waiting button").addEventListener("click", () => {
  for (const [id, { fresh, keys }] of pending) { const table = $('[data-table="' + id + '"]'); if (table) order(table, keys, fresh) }
  pending.clear()
  settle()
})
addEventListener("popstate", () => go(location.href, false))
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("main a[href]")
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || link.hasAttribute("download")) return
  const url = new URL(link.href)
  if (url.pathname !== location.pathname || url.origin !== location.origin || url.searchParams.has("format")) return
  event.preventDefault()
  go(url.href, true)
})
const filter = (form, isNew) => {
  const url = new URL(form.action || location.href)
  url.search = ""
  for (const [name, value] of new FormData(form)) if (value !== "") url.searchParams.set(name, value)
  go(url.href, isNew)
}
let filterTimer
document.addEventListener("input", (event) => {
  const form = event.target.form
  if (!form?.matches("form[data-filter]")) return
  clearTimeout(filterTimer)
  filterTimer = setTimeout(() => filter(form, false), 120)
})
document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-filter]")) return
  event.preventDefault()
  clearTimeout(filterTimer)
  filter(event.target, true)
})
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches?.("input, select, textarea")
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) {
    const search = $("input[type=search]")
    if (search) { event.preventDefault(); search.focus(); search.select() }
  }
  if (event.key === "Escape" && isTyping) event.target.blur()
})
showPause()
tick()
setInterval(tick, 1000)
listen()
`.trim()
