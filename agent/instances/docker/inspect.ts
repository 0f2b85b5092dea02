import { z } from 'zod'
import type { InstanceState } from '../../../shared/instance-spec.ts'
import type { Instance, InstanceConfig, InstanceMount } from '../instances.ts'

const Members = z.record(z.string(), z.unknown())

/** What is looked at of `GET /containers/{id}/json`; the rest passes through. */
export const Inspect = z.looseObject({
  Id: z.string().regex(/^[0-9a-f]{64}$/),
  Name: z.string(),
  Image: z.string(),
  State: z.looseObject({ Status: z.string(), Pid: z.number().int().nonnegative().default(0) }),
  Config: z.looseObject({ Image: z.string().default('') }),
  HostConfig: Members,
  GraphDriver: z.looseObject({ Data: Members.nullish() }).nullish(),
  Mounts: z
    .array(
      z.looseObject({
        Type: z.string(),
        Name: z.string().nullish(),
        Source: z.string().nullish(),
        Destination: z.string(),
        RW: z.boolean().default(true),
      }),
    )
    .nullish(),
  NetworkSettings: z.looseObject({ Networks: z.record(z.string(), Members.nullish()).nullish() }).nullish(),
})
export type Inspect = z.infer<typeof Inspect>

/** Docker's words, and Podman's (libpod/define/containerstate.go, 4.3). */
const STATES: Readonly<Record<string, InstanceState>> = {
  running: 'RUNNING',
  paused: 'FROZEN',
  created: 'STOPPED',
  configured: 'STOPPED',
  initialized: 'STOPPED',
  exited: 'STOPPED',
  stopped: 'STOPPED',
}

export function stateOf({ State }: Inspect): InstanceState {
  return STATES[State.Status] ?? 'OTHER'
}

export function nameOf({ Name }: Inspect): string {
  return Name.replace(/^\//, '')
}

/** Where its overlay is mounted, which it is while it runs. */
export function mergedDirectoryOf({ GraphDriver }: Inspect): string | undefined {
  const path = GraphDriver?.Data?.MergedDir
  return typeof path === 'string' && path.startsWith('/') ? path : undefined
}

/** Of the overlay that its root is: what it wrote, then its image. */
export function layersOf({ GraphDriver }: Inspect): readonly string[] | undefined {
  const { UpperDir: upper, LowerDir: lower } = GraphDriver?.Data ?? {}
  if (typeof upper !== 'string' || typeof lower !== 'string') return undefined
  const layers = [upper, ...lower.split(':')]
  return layers.every((path) => path.startsWith('/')) ? layers : undefined
}

export function mountsOf({ Mounts }: Inspect): readonly InstanceMount[] {
  return (Mounts ?? []).flatMap(({ Type, Name, Source, Destination, RW }) => {
    if ((Type !== 'volume' && Type !== 'bind') || !Source?.startsWith('/')) return []
    const volume = Type === 'volume' ? (Name ?? undefined) : undefined
    return [{ source: Source, destination: Destination, kind: Type, volume, readonly: !RW }]
  })
}

/** What stays as it is while a container starts, runs and stops. */
export function configOf(inspect: Inspect): InstanceConfig {
  const { Id, Image, Config, HostConfig, NetworkSettings } = inspect
  const networks = Object.entries(NetworkSettings?.Networks ?? {}).map(([name, network]) => {
    const { IPAMConfig = null, Aliases = null, Links = null, DriverOpts = null } = network ?? {}
    return [name, { IPAMConfig, Aliases, Links, DriverOpts }]
  })
  const kept = {
    Id,
    Name: nameOf(inspect),
    Image,
    Config,
    HostConfig,
    Networks: Object.fromEntries(networks),
    Mounts: mountsOf(inspect).map(({ source, destination, ...rest }) => ({ ...rest, source, destination })),
  }
  const json = Buffer.from(`${JSON.stringify(sorted(kept), undefined, 1)}\n`)
  const image = { id: Image, reference: Config.Image }
  return { type: 'docker', name: kept.Name, files: { [CONFIG_FILE]: json }, image }
}
export const CONFIG_FILE = 'container.json'

/** Engines give members in any order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).toSorted(([left], [right]) => (left < right ? -1 : 1))
  return Object.fromEntries(entries.map(([key, member]) => [key, sorted(member)]))
}

export function describe(inspect: Inspect, parts: Pick<Instance, 'config' | 'rootfs'>): Instance {
  const state = stateOf(inspect)
  const layers = layersOf(inspect)
  const pid = state === 'RUNNING' || state === 'FROZEN' ? inspect.State.Pid : 0
  return {
    type: 'docker',
    id: inspect.Id,
    name: nameOf(inspect),
    state,
    pid: pid > 0 ? pid : undefined,
    ...(layers === undefined ? {} : { layers }),
    mounts: mountsOf(inspect),
    ...parts,
  }
}
