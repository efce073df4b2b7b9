/** Small plots as SVG: bars for one size, lines where something grows. Readable on light and dark ground. */
import { familyOf, laneOf, median, type Result, runtimesOf, show } from "./report.ts"

/** Mid-tones, told apart by the colour-blind too (after Okabe and Ito). */
const colours: Readonly<Record<string, string>> = {
  "ours": "#0f8a5f",
  "raw": "#d9822b",
  "naive": "#b5559c",
  "go-clientv3": "#3d8fd1",
  "go-kit": "#c0504d"
}
const ink = "#808080"
const width = 300
const height = 170

const text = (x: number, y: number, content: string, rest = ""): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${rest}>${
    content.replaceAll("&", "&amp;").replaceAll("<", "&lt;")
  }</text>`

const sizeOf = ({ scenario }: Result): number => Number(/-(\d+)$/.exec(scenario.name)?.[1])

/** A panel: one figure on one runtime. */
const panel = (
  members: ReadonlyArray<Result>,
  figure: string,
  runtime: ReturnType<typeof runtimesOf>[number]
): string => {
  const [first] = members
  if (first === undefined) return ""
  const medianOf = (result: Result, contender: Parameters<typeof laneOf>[1]) =>
    median(laneOf(result, contender, runtime)?.figures[figure] ?? [])
  const contenders = first.scenario.contenders.filter((contender) =>
    members.some((result) => !Number.isNaN(medianOf(result, contender)))
  )
  const values = members.flatMap((result) => contenders.map((contender) => medianOf(result, contender)))
    .filter((value) => !Number.isNaN(value))
  const [left, bottom, top] = [10, height - 22, 24]
  const parts = [text(left, 14, `${figure}, ${runtime}`, `font-weight="bold"`)]
  if (members.length === 1) {
    const most = Math.max(...values, Number.MIN_VALUE)
    const step = (width - 2 * left) / contenders.length
    contenders.forEach((contender, index) => {
      const value = medianOf(first, contender)
      const tall = Math.max(1, (bottom - top - 14) * value / most)
      const x = left + index * step
      parts.push(
        `<rect x="${(x + step * 0.15).toFixed(1)}" y="${(bottom - tall).toFixed(1)}" width="${
          (step * 0.7).toFixed(1)
        }" height="${tall.toFixed(1)}" fill="${colours[contender]}"/>`,
        text(x + step / 2, bottom - tall - 4, show(value), `text-anchor="middle"`),
        text(x + step / 2, bottom + 13, contender, `text-anchor="middle"`)
      )
    })
  } else {
    // Both axes are logarithmic, and the upright one has a decade at least: a line that looks flat is flat.
    const sizes = members.map(sizeOf)
    const scale = (all: ReadonlyArray<number>, from: number, to: number) => {
      const [low, high] = [Math.log(Math.min(...all)), Math.log(Math.max(...all))]
      return (value: number) =>
        high === low ? (from + to) / 2 : from + (to - from) * (Math.log(value) - low) / (high - low)
    }
    const positive = values.filter((value) => value > 0)
    const x = scale(sizes, left + 10, width - 115)
    const least = Math.min(...positive)
    const y = scale([least, 10 * least, 1.5 * Math.max(...positive)], bottom - 8, top + 8)
    const points = members.flatMap((result) =>
      contenders.map((contender) => ({
        contender,
        size: sizeOf(result),
        value: medianOf(result, contender),
        colour: colours[contender] ?? ink
      }))
    ).filter(({ value }) => value > 0)
    contenders.forEach((contender, index) => {
      const own = points.filter((point) => point.contender === contender)
      const colour = colours[contender] ?? ink
      parts.push(
        `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${
          own.map(({ size, value }) => `${x(size).toFixed(1)},${y(value).toFixed(1)}`).join(" ")
        }"/>`,
        text(width - 62, top + 14 + 14 * index, contender, `fill="${colour}"`)
      )
    })
    for (const size of sizes) {
      parts.push(text(x(size), bottom + 13, size.toLocaleString("en"), `text-anchor="middle"`))
      let free = Infinity
      // From below, each label above its point and above the label before it.
      for (const { colour, value } of points.filter((point) => point.size === size).sort((a, b) => a.value - b.value)) {
        free = Math.min(y(value) - 6, free - 11)
        parts.push(
          `<circle cx="${x(size).toFixed(1)}" cy="${y(value).toFixed(1)}" r="3" fill="${colour}"/>`,
          text(x(size) - 4, free, show(value), `fill="${colour}"`)
        )
      }
    }
  }
  parts.push(`<line x1="${left}" y1="${bottom}" x2="${width - left}" y2="${bottom}" stroke="${ink}"/>`)
  return parts.join("\n")
}

/** The plot of a family of scenarios: a row for each figure, a column for each runtime. */
export const plot = (family: string, members: ReadonlyArray<Result>, where: ReadonlyArray<string>): string => {
  const [first] = members
  const figures = first?.scenario.drawn ?? []
  const runtimes = first === undefined ? [] : runtimesOf(first)
  const inner = figures.flatMap((figure, row) =>
    runtimes.map((runtime, column) =>
      `<g transform="translate(${column * width} ${30 + row * height})">\n${panel(members, figure, runtime)}\n</g>`
    )
  )
  const total = { x: Math.max(1, runtimes.length) * width, y: 30 + figures.length * height + 12 * where.length + 8 }
  const title = members.length === 1 ? first?.scenario.about ?? family : familyOf(family)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${total.x} ${total.y}" font-family="sans-serif" font-size="11" fill="${ink}">`,
    text(10, 18, title, `font-size="14"`),
    ...inner,
    ...where.map((line, index) => text(10, total.y - 8 - 12 * (where.length - 1 - index), line, `font-size="8"`)),
    "</svg>\n"
  ].join("\n")
}
