import type { InstanceState, InstanceType } from '../../shared/instance-spec.ts'

/** A place in an instance where something of its host is mounted. The system's own (proc, sysfs, tmpfs) are left out. */
export interface InstanceMount {
  /** Absolute path on the host. */
  readonly source: string
  /** Absolute path in the instance. */
  readonly destination: string
  /** `volume`: kept by the engine under a name. `disk`: of a domain, a file or device rather than a directory. */
  readonly kind: 'volume' | 'bind' | 'disk'
  /** The engine's name of a volume; of a disk what shared/instance-spec.ts says. */
  readonly volume: string | undefined
  readonly readonly: boolean
}

export interface Instance {
  readonly type: InstanceType
  /** What the other methods take. LXC: the name; engines: 64 hex digits, domains: a UUID, which stay when it is renamed. */
  readonly id: string
  readonly name: string
  readonly state: InstanceState
  /** Of its first process, as the host counts. */
  readonly pid: number | undefined
  /** Absolute path of its root on this host, if it has one now: an engine's overlay is mounted only while it runs. */
  readonly rootfs: string | undefined
  /** Absolute paths of the directories whose overlay its root is, the uppermost first; they are there when it is stopped too. */
  readonly layers?: readonly string[]
  readonly mounts: readonly InstanceMount[]
  /** Undefined where it cannot be read. The hash stays the same for as long as nobody changes the configuration. */
  readonly config: { readonly sizeBytes: number; readonly hash: string } | undefined
}

/** What it takes, beside its root and its mounts, to make an instance again: the small files of `image.tar`. */
export interface InstanceConfig {
  readonly type: InstanceType
  /** Of the instance that it was read from. */
  readonly name: string
  /** By file name. LXC: `config`, and `fstab` if there is one; engines: `container.json`; libvirt: `domain.xml`. */
  readonly files: Readonly<Record<string, Buffer>>
  /** Engines: what the container was made from, for `exportImage`. */
  readonly image: { readonly id: string; readonly reference: string } | undefined
}

export interface CreateRequest {
  /** What its configuration calls it. */
  readonly name: string
  /** What it is called until it is renamed; without it, `name`. */
  readonly under?: string
  readonly config: InstanceConfig
  /** A directory that holds the whole root. LXC keeps using it; engines read it into an image of its own. */
  readonly rootfs: string
  /** `new`: it may run beside the one it was made from: host name and MAC are made anew, addresses and published ports dropped. */
  readonly identity: 'keep' | 'new'
  /**
   * False for whatever was read from a target, where others may have written: what acts on the host, or gives more rights than
   * usual, is then dropped.
   */
  readonly trusted: boolean
  /** What of the host is mounted, by destination. Mounts of the configuration that are not named here are dropped. */
  readonly mounts: readonly MountChoice[]
}

export interface MountChoice {
  readonly destination: string
  readonly source: { readonly path: string } | { readonly volume: string }
  readonly readonly: boolean
}

export interface CreatedInstance {
  readonly instance: Instance
  /** Settings of the configuration that were left out, by their own names, for whoever restores. */
  readonly dropped: readonly string[]
}

export interface FreezeRequest {
  readonly id: string
  /** The watchdog thaws after this, whatever happens. */
  readonly maxMs: number
  readonly signal: AbortSignal
}

/** An instance that stands still. `thaw` may be called again; disposing thaws too. */
export interface Freeze extends AsyncDisposable {
  /** False when it was frozen before, by somebody else: it stays so, and no watchdog was set. */
  readonly held: boolean
  thaw(): Promise<FreezeEnd>
}

export interface FreezeEnd {
  /** It stood still all the time: nobody thawed it first, the watchdog neither. */
  readonly intact: boolean
  /**
   * Snapshots of its disks hold all that it had written. False of a domain whose agent did not see to that: what its kernel had in memory
   * is missing from them, as after a power cut.
   */
  readonly isFlushed: boolean
  /** From before the freeze until after the thaw. */
  readonly heldMs: number
}

/**
 * The instances of one technology on this host. Every call may be repeated: what is so already succeeds. An id that no instance
 * could have is `invalid`, an unknown one `not_found`; a state that forbids the call is `conflict`, a daemon or tools that
 * are not there `unavailable`, and what a tool says beyond that `internal`.
 */
export interface Instances extends Partial<InstanceMaking> {
  readonly type: InstanceType
  list(signal: AbortSignal): Promise<readonly Instance[]>
  /** @param id or an engine's name of it */
  find(id: string, signal: AbortSignal): Promise<Instance | undefined>
  /** Sets the watchdog, then freezes. @throws conflict unless it runs or is frozen; unavailable without a watchdog */
  freeze(request: FreezeRequest): Promise<Freeze>
  thaw(id: string, signal: AbortSignal): Promise<void>
  start(id: string, signal: AbortSignal): Promise<void>
  /** Asks it to stop and ends it after `graceMs`. @throws conflict when it is frozen */
  stop(id: string, options: { readonly graceMs: number; readonly signal: AbortSignal }): Promise<void>
  readConfig(id: string, signal: AbortSignal): Promise<InstanceConfig>
  /** The image it was made from, as a tar that `importImage` takes. Absent where there are no images. */
  exportImage?(id: string, signal: AbortSignal): AsyncIterable<Buffer>
  importImage?(image: AsyncIterable<Buffer>, signal: AbortSignal): Promise<void>
  /** Its root without what is mounted in it, as a tar; for instances whose `rootfs` is undefined. Absent where none are. */
  exportRootfs?(id: string, signal: AbortSignal): AsyncIterable<Buffer>
  /** @returns the absolute path of a volume's content, made if it is not there */
  ensureVolume?(name: string, signal: AbortSignal): Promise<string>
}

/** How instances come and go. All of it is absent where none are made (IS_MADE_HERE). */
export interface InstanceMaking {
  /** Whole or absent. It is not started. @throws exists; refused for a configuration of another type */
  create(request: CreateRequest, signal: AbortSignal): Promise<CreatedInstance>
  /**
   * Calls it something else; what it is called inside stays. Said again, it finds it under its new name.
   * @throws exists when another has that name; conflict unless it is stopped, or where its snapshots know it by its old name
   */
  rename(id: string, name: string, signal: AbortSignal): Promise<Instance>
  /** With its root, and what `create` made for it; mounts and volumes stay. @throws conflict unless it is stopped */
  destroy(id: string, signal: AbortSignal): Promise<void>
  /**
   * Takes back a `create`, whole or half done, by the name that it was made under: the directory that it was made on stays.
   * @throws conflict while it runs, or where its root is its own
   */
  unmake(name: string, signal: AbortSignal): Promise<void>
}

/** What `madeHere` returns. */
export type MadeInstances = Instances & InstanceMaking
