/**
 * Errors of `render`.
 *
 * @module
 */
import { TaggedErrorClass } from "../../internal/TaggedErrorClass.ts"

const RenderFailedBase: TaggedErrorClass<"RenderFailed", { readonly message: string }> = TaggedErrorClass(
  "RenderFailed"
)

/** A file that could not be rendered, checked or written. The old file is in place. */
export class RenderFailed extends RenderFailedBase {}

const ReloadFailedBase: TaggedErrorClass<"ReloadFailed", { readonly message: string }> = TaggedErrorClass(
  "ReloadFailed"
)

/** A reload command that failed. The new file is in place. */
export class ReloadFailed extends ReloadFailedBase {}

const EmptyServiceBase: TaggedErrorClass<"EmptyService", { readonly name: string }> = TaggedErrorClass("EmptyService")

/** A service without an instance to write, with `onEmpty: "fail"`. */
export class EmptyService extends EmptyServiceBase {
  override get message(): string {
    return `${JSON.stringify(this.name)} has no instance to write, and --on-empty is fail. The file was not changed.`
  }
}
