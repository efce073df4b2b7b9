/**
 * Durations as text for messages.
 *
 * @module
 */
import { Duration } from "effect"

const rounded = (value: number, digits: number): string => String(Number(value.toFixed(digits)))

/** A duration with its unit, such as `15 s`, `500 ms` or `1 min 30 s`, rounded. */
export const formatDuration = (duration: Duration.Input): string => {
  const millis = Duration.toMillis(duration)
  if (!Number.isFinite(millis)) return millis < 0 ? "-Infinity" : "Infinity"
  if (millis < 0) return `-${formatDuration(-millis)}`
  if (millis < 1000) return `${rounded(millis, millis < 1 ? 6 : millis < 10 ? 3 : 0)} ms`
  const seconds = Number(rounded(millis / 1000, 3))
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return withRest(seconds, 60, "min", "s")
  return seconds < 86_400 ? withRest(seconds / 60, 60, "h", "min") : withRest(seconds / 3600, 24, "d", "h")
}

/** A number of small units as large ones and what remains. */
const withRest = (small: number, size: number, large: string, unit: string): string => {
  const whole = Math.round(small)
  const rest = whole % size
  return `${Math.floor(whole / size)} ${large}${rest === 0 ? "" : ` ${rest} ${unit}`}`
}
