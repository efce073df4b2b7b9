import { Effect, Tracer } from "effect"

/** Adds a span unless the tracer is Effect's built-in one, which exports nothing. */
export const traced =
  (name: string, options: Tracer.SpanOptionsNoTrace) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiber((fiber) =>
      fiber.getRef(Tracer.Tracer) === Tracer.nativeTracer ?
        self :
        Effect.withSpan(self, name, { ...options, captureStackTrace: false })
    )
