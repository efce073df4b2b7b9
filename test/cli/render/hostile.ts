/**
 * Instances that try to inject configuration.
 *
 * @module
 */
import type { ServiceInstance } from "../../../mod.ts"

/** An instance of `orders`. */
export const instance = (id: string, endpoint: string, more: Partial<ServiceInstance> = {}): ServiceInstance => ({
  id,
  name: "orders",
  endpoints: [endpoint],
  metadata: {},
  weight: 1,
  status: "up",
  ...more
})

/** Their ids. */
export const hostileIds = [
  'a" ; } server evil:1; #',
  "a b c",
  "x;}\nserver 6.6.6.6:66;",
  "$(touch hacked)",
  "`id`",
  "a\r\nb",
  "\u2028\u2029\u0000\u001b[2J",
  "../../etc/passwd",
  "%0a%0dserver",
  "-",
  "#",
  "{{x}}",
  "'\"\\",
  "é-ü-漢",
  "a".repeat(253)
]

/** Their endpoints. */
export const hostileEndpoints = [
  "http://evil;}server{:80",
  "http://10.0.0.9:80;}server{listen 1;}",
  "http://a\\b:80",
  "http://$(id):80",
  "http://`id`:80/",
  "http://a,b:80",
  "http://a'b\":80",
  "http://user:pass@10.0.0.9:80/#;{}",
  "tcp://10.0.0.9:80/x y",
  "tcp://a b:80",
  "tcp://a\nb:80",
  "tcp://[::1%eth0;x]:80",
  "tcp://evil}:80",
  "tcp://*:80",
  "unix:///var/run/x;y",
  "tcp://10.0.0.9",
  "http://10.0.0.9:80/~/$HOME",
  "http://10.0.0.9:80/a&b;c|d>e"
]

/** The instances, with zones, versions and metadata of the same kind. */
export const hostile: ReadonlyArray<ServiceInstance> = [
  ...hostileIds.map((id, index) => instance(id, `http://10.1.0.${index + 1}:80`)),
  ...hostileEndpoints.map((endpoint, index) => instance(`e${index}`, endpoint)),
  instance("z", "http://10.2.0.1:80", {
    zone: 'z";}\n',
    version: "$(v)\n",
    metadata: { 'a"\n}': 'b"\n}', __proto__: "x", "job": "evil" }
  })
]
