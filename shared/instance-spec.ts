import { z } from 'zod'
import { HostName, Id } from './ids.ts'
import { VolumeSnapshotMade, VolumeSnapshotPlace } from './volume-spec.ts'

/** What runs instances on a host: LXC's own tools, a container engine behind Docker's API (Docker, Podman), or libvirt. */
export const InstanceType = z.enum(['lxc', 'docker', 'libvirt'])
export type InstanceType = z.infer<typeof InstanceType>

/**
 * Whether instances of that technology are made, cloned, renamed and removed here. Domains are not: their disks are volumes, which are
 * made, cloned and restored by themselves, and what else they are is their administrator's to define.
 */
export const IS_MADE_HERE: Readonly<Record<InstanceType, boolean>> = { lxc: true, docker: true, libvirt: false }

/** What an agent calls one of its instances: LXC's name, an engine's 64 hex digits, a domain's UUID. */
export const InstanceRef = z.string().min(1).max(256)

/** What a container may be called: the rule of engines, which LXC's names that are used here keep too. */
export const InstanceName = z
  .string()
  .regex(
    /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/,
    'must be letters, digits, `_`, `.` or `-`, at most 128, and begin with a letter or digit',
  )

export const InstancePlace = z.object({ type: InstanceType, instance: InstanceRef })
export type InstancePlace = z.infer<typeof InstancePlace>

/**
 * While it is copied from:
 * - `none`   it runs on: the copy is as after a power cut
 * - `pause`  frozen under a watchdog, only until the snapshots are taken; where parts lie in no pool, until those are read
 * - `stop`   stopped and, if it ran, started again after that
 */
export const Hold = z.enum(['none', 'pause', 'stop'])
export type Hold = z.infer<typeof Hold>

/** How long it stood still; `intact` is false when it moved meanwhile (the watchdog came first, or somebody else). */
export const Held = z.object({
  kind: z.enum(['pause', 'stop']),
  ms: z.number().nonnegative(),
  intact: z.boolean(),
})
export type Held = z.infer<typeof Held>

/** `SAVED`: a domain whose memory is kept while it does not run. `OTHER`: on its way from one to another, dead, or unreadable. */
export const InstanceState = z.enum(['RUNNING', 'STOPPED', 'FROZEN', 'SAVED', 'OTHER'])
export type InstanceState = z.infer<typeof InstanceState>

/**
 * `volume`: kept by an engine under a name. `disk`: of a domain, at `/dev/<target>`; its `volume` is `<pool>/<volume>` of its host where it is
 * one of those, `iscsi:<wwn>` where it is a target's, else null.
 */
const MountKind = z.enum(['volume', 'bind', 'disk'])

const DatasetPlace = z.object({ pool: HostName, dataset: Id })

/**
 * A tree of an instance is, in points and in datasets that were made for one: `rootfs/`; `mounts/<n>/` for each mount, numbered from 0 in
 * the order of their destinations; `instance/`: `instance.json` (InstanceManifest) and below `instance/config/` the files
 * of its configuration.
 */
export const InstanceManifest = z.object({
  version: z.literal(1),
  type: InstanceType,
  name: z.string(),
  mounts: z.array(
    z.object({
      /** In the instance. */
      destination: z.string(),
      kind: MountKind,
      volume: z.string().nullable(),
      /** Where it was on its host. */
      source: z.string(),
      readonly: z.boolean(),
      /** `mounts/<n>`; null: it was left out, and `why` says why. */
      directory: z.string().nullable(),
      why: z.string().nullable(),
    }),
  ),
  image: z.object({ id: z.string(), reference: z.string() }).nullable(),
})
export type InstanceManifest = z.infer<typeof InstanceManifest>

/** Where a restored instance comes to be. */
export const InstanceDestination = z.object({
  kind: z.literal('instance'),
  type: InstanceType,
  name: InstanceName,
  /** A dataset that is made for it: its root and what is mounted in it lie there. */
  place: DatasetPlace,
  /** `new`: it may run beside the one it was made from. */
  identity: z.enum(['keep', 'new']),
  /** A stopped one of the same name that goes once the new one is whole. */
  replace: InstanceRef.nullable(),
  start: z.boolean(),
  /**
   * The dataset is there already, and holds the tree of this point of the chain as it was restored: only what changed since is
   * brought over.
   */
  update: Id.nullable(),
})

/** What the fleet calls the instance that is made, started or stopped; agents have no use for it. */
const known = { instanceId: Id.optional() }

/** A new instance from one that may run, on the same host. */
export const CloneInstanceSpec = z.object({
  kind: z.literal('instance.clone'),
  source: InstancePlace,
  /** A dataset that is made for it. */
  target: DatasetPlace,
  name: InstanceName,
  hold: Hold,
  start: z.boolean(),
  ...known,
})
export const StartInstanceSpec = z.object({ kind: z.literal('instance.start'), place: InstancePlace, ...known })
/** Asks it to stop, and ends it after `graceMs`. */
export const StopInstanceSpec = z.object({
  kind: z.literal('instance.stop'),
  place: InstancePlace,
  graceMs: z.number().int().min(0).max(600_000),
  ...known,
})

/**
 * Snapshots of datasets and volumes at one instant, while the instance stands still or does not run. Those of a failed order are taken
 * back, so that none of it is left.
 */
export const SnapshotInstanceSpec = z.object({
  kind: z.literal('instance.snapshot'),
  place: InstancePlace,
  /** `pause`: frozen under a watchdog until all are taken. `none`: each is as after a power cut, at its own moment. */
  hold: z.enum(['none', 'pause']),
  parts: z
    .array(
      z.discriminatedUnion('kind', [
        z.object({ kind: z.literal('dataset'), source: DatasetPlace, target: DatasetPlace }),
        z.object({ kind: z.literal('volume'), place: VolumeSnapshotPlace, snapshotId: Id.optional() }),
      ]),
    )
    .min(1)
    .max(100),
  ...known,
})

/** Removes parts one after the other, as they are listed; what is not there is removed already. Ends at the first that cannot be. */
export const DiscardInstanceSnapshotSpec = z.object({
  kind: z.literal('instance.discard'),
  parts: z
    .array(
      z.discriminatedUnion('kind', [
        z.object({ kind: z.literal('dataset'), place: DatasetPlace }),
        z.object({ kind: z.literal('volume'), place: VolumeSnapshotPlace, snapshotId: Id.optional() }),
      ]),
    )
    .min(1)
    .max(100),
  ...known,
})

export const InstanceSnapshotDiscarded = z.object({
  /** How many of the list are gone: the first ones. */
  removed: z.number().int().nonnegative(),
  /** Why the next one is not. */
  error: z
    .object({ code: z.string(), message: z.string(), blockers: z.array(z.string()).max(100).optional() })
    .nullable(),
})
export type InstanceSnapshotDiscarded = z.infer<typeof InstanceSnapshotDiscarded>

export const InstanceSnapshotted = z.object({
  held: Held.optional(),
  /**
   * `frozen`, `stopped`: it stood still until all were taken, with all that it had to write. `crash`: as after a power cut. Each part is of
   * one instant, and of its own unless `held` is intact, as of a domain without an agent in it.
   */
  consistency: z.enum(['frozen', 'stopped', 'crash']),
  /** In the order's sequence. */
  parts: z.array(
    z.discriminatedUnion('kind', [
      z.object({
        kind: z.literal('dataset'),
        rootInode: z.number().int().nonnegative(),
        mountpoint: z.string(),
        atomic: z.boolean(),
        cow: z.boolean(),
      }),
      z.object({ kind: z.literal('volume'), ...VolumeSnapshotMade.shape }),
    ]),
  ),
})
export type InstanceSnapshotted = z.infer<typeof InstanceSnapshotted>

export const InstanceMade = z.object({
  /** What its agent calls it. */
  instance: InstanceRef,
  /** Settings that were left out, by their own names: what came from a target is not trusted with the host. */
  dropped: z.array(z.string()),
})
export type InstanceMade = z.infer<typeof InstanceMade>

export const InstanceCloned = z.object({
  rootInode: z.number().int().nonnegative(),
  mountpoint: z.string(),
  /** Root and all mounts are of one instant. */
  atomic: z.boolean(),
  /** True only when no data byte was copied. */
  cow: z.boolean(),
  held: Held.optional(),
  made: InstanceMade,
})
export const InstanceChanged = z.object({})

/** An instance as its agent reports it. */
export const ReportedInstance = z.object({
  ...InstancePlace.shape,
  name: z.string().max(256),
  state: InstanceState,
  /** Bytes of its configuration and what changes with it; null where it cannot be read. */
  configHash: z.string().max(128).nullable(),
  mounts: z
    .array(
      z.object({
        destination: z.string().max(4096),
        source: z.string().max(4096),
        kind: MountKind,
        volume: z.string().max(1100).nullable(),
        readonly: z.boolean(),
      }),
    )
    .max(100),
})
export type ReportedInstance = z.infer<typeof ReportedInstance>
