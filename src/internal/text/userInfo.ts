/**
 * Endpoints without their user names and passwords, for errors and logs.
 *
 * @module
 */

/** An endpoint, valid or not, with "…" in place of user name and password: everything up to its last `@`. */
export const withoutUserInfo = (endpoint: string): string => {
  const end = endpoint.lastIndexOf("@")
  if (end < 0) return endpoint
  const scheme = endpoint.indexOf("://")
  return `${endpoint.slice(0, scheme < 0 || scheme > end ? 0 : scheme + 3)}…${endpoint.slice(end)}`
}
