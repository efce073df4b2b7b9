/**
 * Errors of `render`.
 *
 * @module
 */
import { TaggedErrorClass } from "../../internal/TaggedErrorClass.ts"

const RenderFailedBase: TaggedErrorClass<"RenderFailed", { readonly message: string }> = TaggedErrorClass(
  "RenderFailed"
)

/** The file could not be rendered, checked or written. The old file is still in place. */
export class RenderFailed extends RenderFailedBase {}

const ReloadFailedBase: TaggedErrorClass<"ReloadFailed", { readonly message: string }> = TaggedErrorClass(
  "ReloadFailed"
)

/** The reload command failed. The new file is in place. */
export class ReloadFailed extends ReloadFailedBase {}

const EmptyServiceBase: TaggedErrorClass<"EmptyService", { readonly name: string }> = TaggedErrorClass("EmptyService")

/** A service has no instances, and `onEmpty` is `"fail"`. */
export class EmptyService extends EmptyServiceBase {
  override get message(): string {
    return `${JSON.stringify(this.name)} has no instances, and --on-empty is fail. The file is unchanged.`
  }
}
