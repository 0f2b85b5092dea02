import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { FleetError } from '../../shared/errors.ts'
import { InstanceType } from '../../shared/instance-spec.ts'
import type { Instances } from './instances.ts'
import { lazily } from './lazy-instances.ts'

/** How long the start of an agent waits for what an agent before it left frozen; it is tried on behind that. */
const THAW_WAIT_MS = 10_000
const LXC_TOOL = '/usr/bin/lxc-start'
const LXC_FOLDER = '/var/lib/lxc'
const VIRSH = '/usr/bin/virsh'
const LIBVIRT_SOCKETS = ['/run/libvirt/libvirt-sock', '/run/libvirt/virtqemud-sock']
const LIBVIRT_URI = 'qemu:///system'
const SOCKETS = ['/run/docker.sock', '/run/podman/podman.sock']

export interface InstancesConfig {
  /** Folder of LXC's containers; '' serves none; undefined: LXC's own, for as long as its tools and folder are there. */
  readonly lxcPath: string | undefined
  /** Of a container engine; '' serves none; undefined: Docker's or Podman's, whichever is there. */
  readonly dockerSocket: string | undefined
  /** Of libvirt's domains; '' serves none; undefined: the host's own, for as long as its tool and its daemon's socket are there. */
  readonly libvirtUri?: string | undefined
  /** What the disk of a domain is, as `InstanceMount.volume` says. @param path absolute */
  readonly volumeAt?: (path: string) => string | undefined
  /** The agent's own directory; what is noted of freezes is kept in it. */
  readonly state: string
}

/** The instances that this host serves. Nothing is loaded before it is called for. */
export interface OpenInstances {
  /** @throws unavailable when this host serves none of that type */
  get(type: InstanceType): Instances
  /** Of the types that are there now: tools and engines may come and go. */
  all(): readonly Instances[]
  /** @returns how many instances that an agent before this one froze cannot be thawed; undefined when that takes longer */
  thawLeft(): Promise<number | undefined>
}

export function openInstances(config: InstancesConfig): OpenInstances {
  const notes = join(config.state, 'frozen')
  const watchdogs = async () => (await import('./watchdog.ts')).createWatchdogs(notes)
  const opened = new Map<string, Instances>()
  const placeOf: Readonly<Record<InstanceType, () => string>> = {
    lxc: () => config.lxcPath ?? (existsSync(LXC_TOOL) && existsSync(LXC_FOLDER) ? LXC_FOLDER : ''),
    docker: () => config.dockerSocket ?? SOCKETS.find((path) => existsSync(path)) ?? '',
    libvirt: () =>
      config.libvirtUri ?? (existsSync(VIRSH) && LIBVIRT_SOCKETS.some((path) => existsSync(path)) ? LIBVIRT_URI : ''),
  }
  const open: Readonly<Record<InstanceType, (place: string) => Promise<Instances>>> = {
    async lxc(folder) {
      return (await import('./lxc/lxc-driver.ts')).createLxcDriver({ folder, watchdogs: await watchdogs() })
    },
    async docker(socketPath) {
      return (await import('./docker/docker-driver.ts')).createDockerDriver({
        socketPath,
        watchdogs: await watchdogs(),
      })
    },
    async libvirt(uri) {
      const { createLibvirtDriver } = await import('./libvirt/libvirt-driver.ts')
      return createLibvirtDriver({ uri, watchdogs: await watchdogs(), volumeAt: config.volumeAt ?? (() => undefined) })
    },
  }
  const at = (type: InstanceType): Instances | undefined => {
    const place = placeOf[type]()
    if (place === '') return undefined
    const key = `${type} ${place}`
    const found = opened.get(key) ?? lazily(type, () => open[type](place))
    opened.set(key, found)
    return found
  }
  return {
    get(type) {
      const found = at(type)
      if (found === undefined) throw new FleetError('unavailable', `this host serves no instances of type '${type}'`)
      return found
    },
    all: () => InstanceType.options.flatMap((type) => at(type) ?? []),
    async thawLeft() {
      if (!existsSync(notes) || readdirSync(notes).length === 0) return 0
      const { thawLeft } = await import('./watchdog.ts')
      return Promise.race([thawLeft(notes), delay(THAW_WAIT_MS, undefined, { ref: false })])
    },
  }
}
