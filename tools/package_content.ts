/**
 * Checks the content of a published tarball.
 *
 * @module
 */

/** The files and folders of the tarball's root. */
const roots = new Set(["CHANGELOG.md", "LICENSE", "README.md", "dist", "docs", "package.json"])

/** Lists everything in the tarball that does not belong there, and missing companions. */
export const contentProblems = (
  files: ReadonlyArray<string>,
  read: (file: string) => string
): ReadonlyArray<string> => {
  const all = new Set(files)
  return [
    ...files.filter((file) => !roots.has(file.split("/")[0] ?? "")).map((file) => `${file}: does not belong there`),
    ...files.filter((file) => /\.test\.|(?:^|\/)adr\//.test(file)).map((file) =>
      `${file}: is for this repository only`
    ),
    ...files.filter((file) => file.endsWith(".js") && !file.startsWith("dist/chunks/")).flatMap((file) => {
      const types = file.replace(/\.js$/, ".d.ts")
      return all.has(types) ? [] : [`${file}: has no ${types}`]
    }),
    ...files.filter((file) => file.endsWith(".map")).flatMap((file) => {
      const map: { readonly sources?: ReadonlyArray<string>; readonly sourcesContent?: ReadonlyArray<string | null> } =
        JSON.parse(read(file))
      const isComplete = map.sources?.every((_, index) => typeof map.sourcesContent?.[index] === "string") === true
      return isComplete ? [] : [`${file}: has no sources, so a debugger finds none`]
    })
  ]
}
