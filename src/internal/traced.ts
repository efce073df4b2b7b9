import { Effect, Tracer } from "effect"

/** Puts a span around an effect where a tracer is installed; Effect's own tells nobody. */
export const traced =
  (name: string, options: Tracer.SpanOptionsNoTrace) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiber((fiber) =>
      fiber.getRef(Tracer.Tracer) === Tracer.nativeTracer ?
        self :
        Effect.withSpan(self, name, { ...options, captureStackTrace: false })
    )
