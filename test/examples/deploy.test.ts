import { Effect } from "effect"
import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, test } from "node:test"
import { parseAllDocuments } from "yaml"
import { root } from "../../tools/runtimes.ts"
import { ran } from "../cli/support.ts"
import * as it from "../harness/it.ts"

const deploy = join(root, "examples", "deploy")
const filesIn = (folder: string): ReadonlyArray<readonly [name: string, text: string]> =>
  readdirSync(join(deploy, folder)).sort().map((name) => [name, readFileSync(join(deploy, folder, name), "utf8")])

/** The members that a manifest may have: `true` for any value, an array for a list of such objects. */
type Fields = { readonly [name: string]: true | Fields | readonly [Fields] }

const metadata: Fields = { name: true, labels: true }
const probe: Fields = {
  httpGet: { path: true, port: true },
  periodSeconds: true,
  timeoutSeconds: true,
  failureThreshold: true
}
const container: Fields = {
  name: true,
  image: true,
  command: true,
  ports: [{ name: true, containerPort: true }],
  env: [{ name: true, value: true, valueFrom: { fieldRef: { fieldPath: true } } }],
  volumeMounts: [{ name: true, mountPath: true, readOnly: true }],
  startupProbe: probe,
  livenessProbe: probe,
  readinessProbe: probe,
  resources: { requests: { cpu: true, memory: true }, limits: { memory: true } },
  securityContext: {
    runAsNonRoot: true,
    readOnlyRootFilesystem: true,
    allowPrivilegeEscalation: true,
    capabilities: { drop: true }
  }
}
const kinds: Readonly<Record<string, Fields>> = {
  "apps/v1 Deployment": {
    replicas: true,
    selector: { matchLabels: true },
    strategy: { type: true, rollingUpdate: { maxUnavailable: true, maxSurge: true } },
    template: {
      metadata: { labels: true },
      spec: {
        terminationGracePeriodSeconds: true,
        shareProcessNamespace: true,
        containers: [container],
        volumes: [{ name: true, secret: { secretName: true } }]
      }
    }
  },
  "policy/v1 PodDisruptionBudget": { maxUnavailable: true, selector: { matchLabels: true } },
  "v1 Service": { selector: true, ports: [{ name: true, port: true, targetPort: true }] }
}

/** The paths of members that no manifest of this kind has. */
const strangers = (value: unknown, fields: true | Fields | readonly [Fields], path: string): ReadonlyArray<string> => {
  if (fields === true) return []
  if (Array.isArray(fields)) {
    assert.ok(Array.isArray(value), `${path} is no list`)
    return value.flatMap((entry, index) => strangers(entry, fields[0], `${path}[${index}]`))
  }
  assert.ok(typeof value === "object" && value !== null && !Array.isArray(value), `${path} is no object`)
  const known = fields as Fields
  return Object.entries(value).flatMap(([name, member]) =>
    Object.hasOwn(known, name) ? strangers(member, known[name] ?? true, `${path}.${name}`) : [`${path}.${name}`]
  )
}

interface Container {
  readonly name: string
  readonly command?: ReadonlyArray<string>
  readonly ports: ReadonlyArray<{ readonly name: string }>
  readonly env: ReadonlyArray<{ readonly name: string }>
  readonly volumeMounts: ReadonlyArray<{ readonly name: string }>
  readonly [probe: `${string}Probe`]: { readonly httpGet: { readonly port: string } } | undefined
}

interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string }
  readonly spec: {
    readonly selector: { readonly matchLabels: object }
    readonly template: {
      readonly metadata: { readonly labels: object }
      readonly spec: {
        readonly terminationGracePeriodSeconds: number
        readonly containers: ReadonlyArray<Container>
        readonly volumes: ReadonlyArray<{ readonly name: string }>
      }
    }
  }
}

const manifests = filesIn("kubernetes").flatMap(([file, text]) =>
  parseAllDocuments(text).map((document) => {
    assert.deepEqual(document.errors, [], file)
    return { file, manifest: document.toJS() as Manifest }
  })
)
const deployments = manifests.filter(({ manifest }) => manifest.kind === "Deployment")

const seconds = (text: string | undefined): number => Number(/^"?(\d+) ?s/.exec(text ?? "")?.[1])

/** The time that `orders.ts` takes to drain and to release its key. */
const ordersSeconds = seconds(/drain: ("\d+ seconds")/.exec(readFileSync(join(deploy, "orders.ts"), "utf8"))?.[1]) + 5

describe("examples/deploy", () => {
  test("the Kubernetes manifests contain only members of their kinds", () => {
    for (const { file, manifest: { apiVersion, kind, metadata: names, spec, ...rest } } of manifests) {
      const fields = kinds[`${apiVersion} ${kind}`]
      assert.ok(fields !== undefined, `${file}: ${apiVersion} ${kind}`)
      assert.deepEqual(Object.keys(rest), [])
      assert.deepEqual([...strangers(names, metadata, "metadata"), ...strangers(spec, fields, "spec")], [], file)
    }
    assert.ok(manifests.length >= 4)
  })

  test("the Kubernetes manifests refer only to ports, volumes and labels that they define", () => {
    for (const { file, manifest: { spec: { selector, template } } } of deployments) {
      assert.deepEqual(selector.matchLabels, template.metadata.labels, file)
      const { containers, volumes } = template.spec
      for (const container of containers) {
        const ports = container.ports.map(({ name }) => name)
        for (const name of ["startupProbe", "livenessProbe", "readinessProbe"] as const) {
          const probe = container[name]
          if (probe !== undefined) assert.ok(ports.includes(probe.httpGet.port), `${file}: ${name}`)
        }
        for (const { name } of container.volumeMounts) assert.ok(volumes.some((volume) => volume.name === name))
      }
    }
  })

  test("pods and units have more time to end than their drain takes", () => {
    for (const { file, manifest: { spec: { template: { spec } } } } of deployments) {
      for (const { command = [], env } of spec.containers) {
        const flag = (name: string) => seconds(command.find((arg) => arg.startsWith(name))?.slice(name.length)) || 0
        const needed = command[1] === "exec" ?
          flag("--drain=") + flag("--kill-after=") + 5 :
          command[1] === "serve" ?
          0 :
          ordersSeconds
        assert.ok(spec.terminationGracePeriodSeconds > needed, `${file}: ${needed} s`)
        if (command[1] !== "serve") assert.ok(env.some(({ name }) => name === "POD_IP"), file)
      }
    }
    for (const [file, text] of filesIn("systemd")) {
      const stop = seconds(/^TimeoutStopSec=(\S+)$/m.exec(text)?.[1])
      if (!text.includes("serve")) assert.ok(stop > ordersSeconds + 5, file)
    }
  })

  /** The command lines of `etcd-discovery` in documents, manifests and units. */
  const commandLines = [
    ...["docs/guide/operators.md", "docs/guide/troubleshooting.md", "docs/guide/production.md", "docs/monitoring.md"]
      .flatMap((file) =>
        Array.from(
          readFileSync(join(root, file), "utf8").matchAll(/(?:^|`)etcd-discovery ([a-z][^`#\n]*)/gm),
          ([, line = ""]) => ({ file, words: line.trim().split(/\s+/) })
        )
      ),
    ...deployments.flatMap(({ file, manifest }) =>
      manifest.spec.template.spec.containers.flatMap(({ command = [] }) =>
        command[0] === "etcd-discovery" ? [{ file, words: command.slice(1) }] : []
      )
    ),
    ...filesIn("systemd").flatMap(([file, text]) =>
      Array.from(
        text.replaceAll("\\\n", " ").matchAll(/^ExecStart=\/usr\/bin\/etcd-discovery (.*)$/gm),
        ([, line = ""]) => ({ file, words: line.split(/\s+/) })
      )
    )
  ]

  it.live("documents, manifests and units use only existing commands and flags of etcd-discovery", () =>
    Effect.gen(function* () {
      assert.ok(commandLines.length > 15)
      const helps = new Map<string, string>()
      for (const { file, words: [command = "", ...words] } of commandLines) {
        const help = helps.get(command) ?? (yield* ran([command, "--help"])).stdout
        helps.set(command, help)
        assert.match(help, new RegExp(`etcd-discovery ${command}\\b`), `${file}: etcd-discovery ${command}`)
        const end = words.indexOf("--")
        for (const word of end < 0 ? words : words.slice(0, end)) {
          const [flag = ""] = word.split("=")
          if (flag.startsWith("--")) assert.match(help, new RegExp(`${flag}\\b`), `${file}: ${command} ${flag}`)
        }
      }
    }))
})
