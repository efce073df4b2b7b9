/**
 * For tests of applications that register and discover.
 *
 * @module
 */
export {}
