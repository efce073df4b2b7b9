/**
 * The flags that describe an instance to register.
 *
 * @module
 */
import type { Input as DurationInput } from "effect/Duration"
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import type { RegisterOptions } from "../registry/registration/RegisterOptions.ts"

/** An optional text flag. */
export const textFlag = (name: string, metavar: string, description: string): Flag.Flag<Option.Option<string>> =>
  Flag.String(name).pipe(Flag.withDescription(description), Flag.withMetavar(metavar), Flag.optional)

/** A duration with its unit. The function that receives it checks the value. */
export const durationFlag = (name: string, description: string): Flag.Flag<Option.Option<DurationInput>> =>
  Flag.map(textFlag(name, "duration", description), Option.map((text) => text as DurationInput))

/** The flags. */
export const flags = {
  endpoint: Flag.String("endpoint").pipe(
    Flag.withDescription("A URL of the instance; may be repeated; 0.0.0.0 becomes the advertised address"),
    Flag.withMetavar("url"),
    Flag.atLeast(1)
  ),
  id: textFlag(
    "id",
    "text",
    "Unique within the service. A stable id lets a restart take over at once [default: random]"
  ),
  serviceVersion: textFlag("service-version", "text", "The version of the instance"),
  weight: Flag.Finite("weight").pipe(
    Flag.withDescription("The share of the traffic relative to other instances [default: 1]"),
    Flag.withMetavar("number"),
    Flag.optional
  ),
  zone: textFlag("zone", "text", "The zone of the instance"),
  metadata: Flag.KeyValuePair("metadata").pipe(
    Flag.withDescription("A metadata entry; may be repeated"),
    Flag.optional
  ),
  advertise: textFlag(
    "advertise",
    "host",
    "Replaces 0.0.0.0 in endpoints [default: ADVERTISE_ADDRESS, POD_IP, the first non-loopback address]"
  ),
  ttl: durationFlag("ttl", "How long the instance stays in etcd without a heartbeat [default: 15 seconds]"),
  claim: Flag.Literals("claim", ["restart", "exclusive", "overwrite"]).pipe(
    Flag.withDescription("What to do if the id is taken [default: restart]"),
    Flag.optional
  )
}

/** The values of {@link flags}. */
export interface Flags {
  readonly endpoint: ReadonlyArray<string>
  readonly id: Option.Option<string>
  readonly serviceVersion: Option.Option<string>
  readonly weight: Option.Option<number>
  readonly zone: Option.Option<string>
  readonly metadata: Option.Option<Readonly<Record<string, string>>>
  readonly advertise: Option.Option<string>
  readonly ttl: Option.Option<DurationInput>
  readonly claim: Option.Option<"restart" | "exclusive" | "overwrite">
}

/** Returns the record without its `None` members. */
export const given = <A extends Readonly<Record<string, Option.Option<unknown>>>>(
  members: A
): { readonly [K in keyof A]?: Option.Option.Value<A[K]> } =>
  Object.fromEntries(
    Object.entries(members).flatMap(([name, value]) => Option.isSome(value) ? [[name, value.value]] : [])
  ) as { readonly [K in keyof A]?: Option.Option.Value<A[K]> }

/** Returns the options of the registration that the flags describe. */
export const optionsOf = ({ endpoint, serviceVersion, ...flags }: Flags): RegisterOptions => {
  const { advertise, claim, id, metadata, ttl, weight, zone } = flags
  return {
    endpoints: endpoint,
    ...given({ advertise, claim, id, metadata, ttl, version: serviceVersion, weight, zone })
  }
}
