/**
 * The names of the built-in formats. Every start of the command line loads this module.
 *
 * @module
 */

/** The names. */
export const formatNames = ["json", "hosts", "env", "nginx", "haproxy", "prometheus-file-sd"] as const

/** The name of a built-in format. */
export type FormatName = typeof formatNames[number]
