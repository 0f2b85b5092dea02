import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { checkHostPath, checkInstanceName } from '../instance-name.ts'
import type { CreateRequest, MountChoice } from '../instances.ts'
import { CONFIG_FILE } from './inspect.ts'

const Members = z.record(z.string(), z.unknown())
const Kept = z.looseObject({
  Id: z.string().default(''),
  Config: Members,
  HostConfig: Members,
  Networks: z.record(z.string(), Members).default({}),
})
type Kept = z.infer<typeof Kept>

/** A body of `POST /containers/create`, and the networks to connect it to afterwards (older engines take one at creation). */
export interface ContainerSpec {
  readonly body: Readonly<Record<string, unknown>>
  readonly networks: readonly string[]
  readonly dropped: readonly string[]
}

/** @returns the words of a list that would be a line each otherwise */
function words(text: string): readonly string[] {
  return text.trim().split(/\s+/)
}

/** What a container says of itself and its process. */
const OF_CONFIG = words(`
  User Env Cmd Entrypoint WorkingDir Tty OpenStdin StdinOnce ExposedPorts Healthcheck StopSignal StopTimeout
  Shell Labels Hostname Domainname`)
/** Bounds, and what acts inside alone. */
const OF_HOST_CONFIG = words(`
  Memory MemoryReservation MemorySwap MemorySwappiness OomKillDisable PidsLimit Ulimits ShmSize NanoCpus
  CpuShares CpuPeriod CpuQuota CpusetCpus CpusetMems BlkioWeight RestartPolicy Init Dns DnsOptions DnsSearch
  ExtraHosts GroupAdd ReadonlyRootfs Tmpfs CapDrop NetworkMode IpcMode`)
/** Rights over the host, and what others said must not be believed. */
const PRIVILEGED = words(`
  Privileged CapAdd Devices DeviceCgroupRules DeviceRequests SecurityOpt Sysctls PidMode UTSMode UsernsMode
  CgroupnsMode CgroupParent LogConfig StorageOpt OomScoreAdj`)
/** Protections, which engines show in full: without them an engine puts its own. */
const PROTECTION = ['MaskedPaths', 'ReadonlyPaths']
/** What two containers on one host cannot share. */
const IDENTITY = ['PortBindings', 'PublishAllPorts']
/** Podman names what Docker leaves empty. */
const DEFAULTS = new Set<unknown>(['', 'private', 'default', 'json-file'])
/** Labels of ours, and those by which Compose finds its containers. */
const OUR_LABEL = /^holdfast\./
const GROUP_LABEL = /^com\.docker\.compose\./

/** @param image the id of what `rootfs` was made into. @throws refused when the configuration is none of an engine's container */
export function containerSpec(
  request: CreateRequest,
  image: string,
  labels: Readonly<Record<string, string>>,
): ContainerSpec {
  const kept = parseKept(request)
  const dropped = new Set<string>()
  const isNew = request.identity === 'new'
  const choose = (from: Readonly<Record<string, unknown>>, names: readonly string[], allowed = true) => {
    const chosen = names.map((name) => [name, from[name]] as const).filter(([, value]) => says(value))
    if (allowed) return Object.fromEntries(chosen)
    for (const [name] of chosen) dropped.add(name)
    return {}
  }
  const config: Record<string, unknown> = choose(kept.Config, OF_CONFIG)
  const host: Record<string, unknown> = {
    ...choose(kept.HostConfig, OF_HOST_CONFIG),
    ...choose(kept.HostConfig, PRIVILEGED, request.trusted),
    ...(request.trusted ? choose(kept.HostConfig, PROTECTION) : {}),
    ...choose(kept.HostConfig, IDENTITY, !isNew),
  }
  if ('Ulimits' in host) host.Ulimits = ulimits(host.Ulimits)
  for (const name of ['NetworkMode', 'IpcMode']) {
    if (!isForeign(host[name], request.trusted)) continue
    dropped.add(name)
    delete host[name]
  }
  const mode = typeof host.NetworkMode === 'string' ? host.NetworkMode : ''
  Object.assign(config, identityOf(kept, request, mode), { Labels: labelsOf(config.Labels, isNew, labels) })
  for (const destination of destinationsIn(kept))
    if (!request.mounts.some((mount) => mount.destination === destination)) dropped.add(destination)
  const networks = mode === 'none' || mode === 'host' ? [] : Object.keys(kept.Networks)
  const own = networks.includes(mode) && !isNew ? { [mode]: kept.Networks[mode] } : {}
  const body = {
    ...config,
    Image: image,
    HostConfig: { ...host, Mounts: request.mounts.map(mountOf) },
    NetworkingConfig: { EndpointsConfig: own },
  }
  return { body, networks: networks.filter((name) => name !== mode && !isDefault(name, mode)), dropped: [...dropped] }
}

function parseKept({ config }: CreateRequest): Kept {
  try {
    return Kept.parse(JSON.parse(config.files[CONFIG_FILE]?.toString() ?? ''))
  } catch (cause) {
    throw new FleetError('refused', 'not the configuration of an engine’s container', { cause })
  }
}

/** Zeros and empty lists are what engines show for what nobody set; sent back, some are settings. */
function says(value: unknown): boolean {
  if (value === undefined || value === null || value === 0 || value === false || DEFAULTS.has(value)) return false
  if (typeof value !== 'object') return true
  const { Type, Name } = value as { Type?: unknown; Name?: unknown } // as: any value of either is an answer
  if (Type !== undefined || Name !== undefined) return says(Type) || says(Name) // a log driver, a restart policy
  return Object.keys(value).length > 0
}

/** The namespaces of the host are for those who are trusted; another container's may be gone or be somebody else's. */
function isForeign(mode: unknown, trusted: boolean): boolean {
  if (typeof mode !== 'string') return false
  return mode.startsWith('container:') || mode.startsWith('ns:') || (mode === 'host' && !trusted)
}

/** What the first network of every container is called, by `docker network` and by its NetworkMode. */
function isDefault(network: string, mode: string): boolean {
  return (network === 'bridge' || network === 'podman') && (mode === '' || mode === 'bridge' || mode === 'default')
}

function identityOf(kept: Kept, { identity, name }: CreateRequest, mode: string): Record<string, unknown> {
  const { Hostname, Env } = kept.Config
  const given = typeof Hostname === 'string' && Hostname !== '' && !kept.Id.startsWith(Hostname) ? Hostname : undefined
  const environment = Array.isArray(Env) ? Env.filter((entry) => entry !== `HOSTNAME=${Hostname}`) : []
  if (mode === 'host') return { Hostname: '', Env: environment }
  const wanted = identity === 'keep' ? given : /^[a-zA-Z0-9-]{1,63}$/.test(name) ? name : undefined
  return { Hostname: wanted ?? '', Env: environment }
}

function labelsOf(given: unknown, isNew: boolean, ours: Readonly<Record<string, string>>): Record<string, unknown> {
  const entries = Object.entries(Members.safeParse(given).data ?? {})
  const kept = entries.filter(([key]) => !OUR_LABEL.test(key) && !(isNew && GROUP_LABEL.test(key)))
  return { ...Object.fromEntries(kept), ...ours }
}

/** Podman shows `RLIMIT_NOFILE` where `nofile` was asked for. */
function ulimits(given: unknown): unknown {
  const Ulimits = z.array(z.object({ Name: z.string(), Hard: z.number(), Soft: z.number() }))
  return Ulimits.parse(given).map((limit) => ({ ...limit, Name: limit.Name.replace(/^RLIMIT_/, '').toLowerCase() }))
}

function destinationsIn({ Mounts }: Kept): readonly string[] {
  const listed = z.array(z.looseObject({ destination: z.string() })).safeParse(Mounts).data ?? []
  return listed.map(({ destination }) => destination)
}

function mountOf({ destination, source, readonly }: MountChoice): Record<string, unknown> {
  checkHostPath(destination)
  if ('path' in source) checkHostPath(source.path)
  else checkInstanceName(source.volume)
  const [type, from] = 'path' in source ? ['bind', source.path] : ['volume', source.volume]
  return { Type: type, Source: from, Target: destination, ReadOnly: readonly }
}
