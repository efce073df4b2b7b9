/**
 * Users, roles and permissions.
 *
 * **Details**
 *
 * With authentication on, etcd permits these functions only to users with the role `root`. `FailedPrecondition`,
 * `NotFound` and `AlreadyExists` are etcd's own refusals.
 *
 * @since 0.1.0
 * @module
 */
import { Effect, type Redacted } from "effect"
import type { Etcd } from "../etcd/Etcd.ts"
import type { KeyRange } from "../etcd/KeyRange.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { withJson } from "../internal/json.ts"
import type { Check, InvalidOption } from "../internal/options.ts"
import { call, checked, checkName, checkPassword } from "./calls.ts"
import { type LeastPrivilege, permissionsFor } from "./leastPrivilege.ts"
import { checkPermission, checkRange, fromEtcd3, grantedBy, type Permission, toEtcd3 } from "./permissions.ts"

export type { LeastPrivilege } from "./leastPrivilege.ts"
export type { Permission } from "./permissions.ts"

/**
 * Turns authentication on.
 *
 * **Gotchas**
 *
 * The user `root` with the role `root` must exist, else this fails with `FailedPrecondition`. From then on etcd refuses
 * every client without a user.
 *
 * @since 0.1.0
 * @category authentication
 */
export const enable: Effect.Effect<void, EtcdError, Etcd> = Effect.asVoid(
  call("authEnable", ({ auth }) => auth.authEnable())
)

/**
 * Turns authentication off. Users and roles remain.
 *
 * @since 0.1.0
 * @category authentication
 */
export const disable: Effect.Effect<void, EtcdError, Etcd> = Effect.asVoid(
  call("authDisable", ({ auth }) => auth.authDisable())
)

/**
 * Whether authentication is on.
 *
 * @since 0.1.0
 * @category models
 */
export interface AuthStatus {
  readonly enabled: boolean
  /** Increments with each change of users and roles. */
  readonly revision: bigint
}

/**
 * Whether authentication is on. From etcd 3.5 on; `Unimplemented` before.
 *
 * @since 0.1.0
 * @category authentication
 */
export const status: Effect.Effect<AuthStatus, EtcdError, Etcd> = Effect.map(
  call("authStatus", ({ auth }) => auth.authStatus()),
  ({ authRevision, enabled }) => withJson({ enabled, revision: BigInt(authRevision) })
)

/**
 * A user to add.
 *
 * @since 0.1.0
 * @category models
 */
export type NewUser =
  | { readonly name: string; readonly password: Redacted.Redacted }
  /** Authenticates with the common name of a client certificate only. */
  | { readonly name: string; readonly noPassword: true }

/**
 * Adds a user. Fails with `AlreadyExists`.
 *
 * @since 0.1.0
 * @category users
 */
export const userAdd = (user: NewUser): Effect.Effect<void, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const request = yield* checked("Auth.userAdd", (check) => ({
      name: checkName(check, "name", user.name),
      ..."noPassword" in user && user.noPassword ?
        { options: { no_password: true } } :
        { password: checkPassword(check, (user as { readonly password: Redacted.Redacted }).password) }
    }))
    yield* call("userAdd", ({ auth }) => auth.userAdd(request))
  })

/**
 * The roles of a user. Fails with `NotFound`. A user may read itself.
 *
 * @since 0.1.0
 * @category users
 */
export const userGet = (
  name: string
): Effect.Effect<{ readonly roles: ReadonlyArray<string> }, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    yield* checked("Auth.userGet", (check) => checkName(check, "name", name))
    const { roles } = yield* call("userGet", ({ auth }) => auth.userGet({ name }))
    return { roles }
  })

/**
 * The names of all users.
 *
 * @since 0.1.0
 * @category users
 */
export const userList: Effect.Effect<ReadonlyArray<string>, EtcdError, Etcd> = Effect.map(
  call("userList", ({ auth }) => auth.userList()),
  ({ users }) => users
)

/**
 * Deletes a user. Fails with `NotFound`. The user's tokens end at once.
 *
 * @since 0.1.0
 * @category users
 */
export const userDelete = (name: string): Effect.Effect<void, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    yield* checked("Auth.userDelete", (check) => checkName(check, "name", name))
    yield* call("userDelete", ({ auth }) => auth.userDelete({ name }))
  })

/**
 * Changes the password of a user. Fails with `NotFound`.
 *
 * **Gotchas**
 *
 * The user's tokens end, so its processes authenticate again. That succeeds only if their `password` is an effect that
 * reads the new password. To rotate without a gap, use two users.
 *
 * @since 0.1.0
 * @category users
 */
export const userChangePassword = (options: {
  readonly name: string
  readonly password: Redacted.Redacted
}): Effect.Effect<void, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const request = yield* checked("Auth.userChangePassword", (check) => ({
      name: checkName(check, "name", options.name),
      password: checkPassword(check, options.password)
    }))
    yield* call("userChangePassword", ({ auth }) => auth.userChangePassword(request))
  })

/**
 * A user and one of its roles.
 *
 * @since 0.1.0
 * @category models
 */
export interface UserRole {
  readonly user: string
  readonly role: string
}

const checkUserRole = (check: Check, { role, user }: UserRole): UserRole => ({
  user: checkName(check, "user", user),
  role: checkName(check, "role", role)
})

/**
 * Gives a user a role. Fails with `NotFound`.
 *
 * @since 0.1.0
 * @category users
 */
export const userGrantRole = (options: UserRole): Effect.Effect<void, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const { role, user } = yield* checked("Auth.userGrantRole", (check) => checkUserRole(check, options))
    yield* call("userGrantRole", ({ auth }) => auth.userGrantRole({ user, role }))
  })

/**
 * Takes a role from a user.
 *
 * **Details**
 *
 * Fails with `NotFound`, and with `FailedPrecondition` if the user does not have the role.
 *
 * @since 0.1.0
 * @category users
 */
export const userRevokeRole = (options: UserRole): Effect.Effect<void, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const { role, user } = yield* checked("Auth.userRevokeRole", (check) => checkUserRole(check, options))
    yield* call("userRevokeRole", ({ auth }) => auth.userRevokeRole({ name: user, role }))
  })

/**
 * Adds a role without permissions. Fails with `AlreadyExists`.
 *
 * @since 0.1.0
 * @category roles
 */
export const roleAdd = (name: string): Effect.Effect<void, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    yield* checked("Auth.roleAdd", (check) => checkName(check, "name", name))
    yield* call("roleAdd", ({ auth }) => auth.roleAdd({ name }))
  })

/**
 * The permissions of a role. Fails with `NotFound`. A user may read its own roles.
 *
 * @since 0.1.0
 * @category roles
 */
export const roleGet = (
  name: string
): Effect.Effect<{ readonly permissions: ReadonlyArray<Permission> }, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    yield* checked("Auth.roleGet", (check) => checkName(check, "name", name))
    const { perm } = yield* call("roleGet", ({ auth }) => auth.roleGet({ role: name }))
    return { permissions: perm.map(fromEtcd3) }
  })

/**
 * The names of all roles.
 *
 * @since 0.1.0
 * @category roles
 */
export const roleList: Effect.Effect<ReadonlyArray<string>, EtcdError, Etcd> = Effect.map(
  call("roleList", ({ auth }) => auth.roleList()),
  ({ roles }) => roles
)

/**
 * Deletes a role, also from the users that have it. Fails with `NotFound`.
 *
 * @since 0.1.0
 * @category roles
 */
export const roleDelete = (name: string): Effect.Effect<void, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    yield* checked("Auth.roleDelete", (check) => checkName(check, "name", name))
    yield* call("roleDelete", ({ auth }) => auth.roleDelete({ role: name }))
  })

/**
 * Gives a role a permission. It replaces a permission on the same key or range. Fails with `NotFound`.
 *
 * @example
 * ```ts
 * import { Auth } from "@effect-etcd/discovery/admin"
 * import { prefix } from "@effect-etcd/discovery/etcd"
 *
 * export const grant = Auth.roleGrantPermission({ role: "app", access: "readwrite", ...prefix("/app/") })
 * ```
 *
 * @since 0.1.0
 * @category roles
 */
export const roleGrantPermission = (
  options: Permission & { readonly role: string }
): Effect.Effect<void, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const request = yield* checked("Auth.roleGrantPermission", (check) => ({
      name: checkName(check, "role", options.role),
      perm: checkPermission(check, options)
    }))
    yield* call("roleGrantPermission", ({ auth }) => auth.roleGrantPermission(request))
  })

/**
 * Takes a permission from a role, by the exact key or range.
 *
 * **Details**
 *
 * Fails with `NotFound`, and with `FailedPrecondition` if the role does not have it.
 *
 * @since 0.1.0
 * @category roles
 */
export const roleRevokePermission = (
  options: KeyRange & { readonly role: string }
): Effect.Effect<void, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const request = yield* checked("Auth.roleRevokePermission", (check) => ({
      role: checkName(check, "role", options.role),
      ...checkRange(check, options)
    }))
    yield* call("roleRevokePermission", ({ auth }) => auth.roleRevokePermission(request))
  })

/**
 * Gives a role exactly the permissions that a process needs to register and to discover services.
 *
 * **Details**
 *
 * Returns the permissions.
 *
 * - The role is added if it does not exist.
 * - To register: `readwrite` on the service's keys, or on the key of one instance.
 * - To discover a service: `read` on the service's keys. `"all"`: `read` on the namespace, which `discoverAll` and
 *   `listServices` need.
 *
 * The calls run one after the other. If one fails, the role has only some of the permissions; repeat the call.
 *
 * **Gotchas**
 *
 * - The role keeps all its earlier permissions. Use a role for this purpose alone.
 * - etcd lets any user grant, renew and revoke leases, but refuses a renewal if the user may not write all keys of the
 * lease. So processes with different roles cannot share a lease.
 * - Foreign formats such as go-kit's use other keys: grant those with {@link roleGrantPermission}.
 *
 * @example
 * ```ts
 * import { Auth } from "@effect-etcd/discovery/admin"
 *
 * export const grant = Auth.grantLeastPrivilege({
 *   role: "orders",
 *   register: ["orders"],
 *   discover: ["payments", "stock"]
 * })
 * ```
 *
 * @since 0.1.0
 * @category roles
 */
export const grantLeastPrivilege = (
  options: LeastPrivilege
): Effect.Effect<ReadonlyArray<Permission>, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const { permissions, role } = yield* checked("Auth.grantLeastPrivilege", (check) => ({
      role: checkName(check, "role", options.role),
      permissions: permissionsFor(check, options)
    }))
    yield* Effect.catchReason(
      call("roleAdd", ({ auth }) => auth.roleAdd({ name: role })),
      "EtcdError",
      "AlreadyExists",
      () => Effect.void
    )
    const { perm } = yield* call("roleGet", ({ auth }) => auth.roleGet({ role }))
    const isGranted = grantedBy(perm.map(fromEtcd3))
    for (const permission of permissions) {
      if (isGranted(permission)) continue
      yield* call("roleGrantPermission", ({ auth }) =>
        auth.roleGrantPermission({ name: role, perm: toEtcd3(permission) }))
    }
    return permissions
  })
