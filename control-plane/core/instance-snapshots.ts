import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { SpecOf } from '../../shared/job-spec.ts'
import type { ReadAnswerOf } from '../../shared/wire/reads.ts'
import { type Caller, requireRole } from './caller.ts'
import { checkKept } from './check-request.ts'
import { type Condition, requireCondition } from './condition.ts'
import { type FleetView, requireAccepting, requireOnline } from './fleet-view.ts'
import type { HostReads } from './host-reads.ts'
import { placeOf } from './images.ts'
import type {
  CaptureBook,
  CaptureFindings,
  CaptureOrder,
  CapturePlan,
  CaptureReader,
  StandingPart,
} from './instance-capture-book.ts'
import type { InstanceSnapshotInfo, InstanceSnapshotOrders } from './instance-captures.ts'
import { standing } from './instance-orders.ts'
import type { InstanceReader, PresentInstance } from './instances.ts'
import type { Hold, LockedDataset, NewDataset } from './orders.ts'
import { oneInstance } from './point-instances.ts'
import type { VolumeRow } from './volume-book.ts'
import { volumeNameOf } from './volume-names.ts'
import { sorted } from './volume-rules.ts'

export const CaptureInstanceRequest = z.object({
  name: z.string().min(1).max(255),
  instance: z.string().min(1).max(256),
})

type Taken = z.infer<typeof CaptureInstanceRequest>
const DiscardRequest = z.object({ id: z.string() })

/** Of one job. */
const MAX_PARTS = 100
const MAX_LEFT_OUT = 100
/** Of a dataset's name, before what tells its snapshot apart. */
const NAME_MAX = 100
const FIELDS = { instance: 'instance', type: 'instance', host: 'instance' }

type Told = ReadAnswerOf<'instance-parts'>

/** States in which a snapshot or a backup is taken. */
export function requireStanding(state: string, name: string): void {
  if (['RUNNING', 'STOPPED', 'FROZEN', 'SAVED'].includes(state)) return
  throw new FleetError(
    'conflict',
    `'${name}' is on its way from one state to another; it is to run, to stop, to be frozen or to be saved`,
  )
}

/** @throws not_found; conflict where several have that name, or it is on its host no more. */
export async function instanceMeant(
  deps: { readonly instances: Pick<InstanceReader, 'find' | 'named'>; readonly fleet: Pick<FleetView, 'knows'> },
  caller: Caller,
  idOrName: string,
): Promise<PresentInstance> {
  const byId = await deps.instances.find(caller.groupId, idOrName)
  if (byId === undefined) return oneInstance(deps, caller.groupId, { instance: idOrName }, FIELDS)
  return standing({ instance: () => byId }, idOrName)
}

export function createInstanceSnapshots(deps: {
  readonly book: CaptureBook
  readonly reader: CaptureReader
  readonly instances: Pick<InstanceReader, 'find' | 'named'>
  readonly fleet: FleetView
  readonly reads: HostReads
}): InstanceSnapshotOrders {
  const { book, reader, fleet, reads } = deps

  function orderOf(caller: Caller, reads: CaptureOrder['reads'], decide: CaptureOrder['decide']): CaptureOrder {
    const { groupId, key } = caller
    const keyed = key === undefined ? {} : { key: { hash: key.hash, holder: key.holder, n: key.next() } }
    return { groupId, by: caller, ...keyed, reads, decide }
  }

  async function find(caller: Caller, id: string): Promise<InstanceSnapshotInfo> {
    const snapshot = await reader.find(caller.groupId, id)
    if (snapshot === undefined) throw noSnapshot(id)
    return snapshot
  }

  /** @returns its job */
  async function take(caller: Caller, asked: Taken, retryOf?: string): Promise<string> {
    const { id, host, name, type, ref } = await instanceMeant(deps, caller, asked.instance)
    requireAccepting(fleet, host)
    const told = await reads.ask(host, 'instance-parts', { place: { type, instance: ref } })
    requireStanding(told.state, name)
    const datasets = told.parts.flatMap(({ dataset }) => dataset?.dataset ?? [])
    const order = orderOf(caller, { instance: id, datasets }, (found) => {
      const instance = standing({ instance: () => found.instance }, id)
      if (instance.host !== host) throw new FleetError('conflict', `'${name}' is on its way to another host`)
      requireAccepting(fleet, host)
      return retrying(capture({ request: asked, groupId: caller.groupId, instance, told, found }), retryOf)
    })
    return (await book.place(order)).jobId ?? ''
  }

  /** @returns its job; undefined where none is needed */
  async function remove(
    caller: Caller,
    id: string,
    { ifMatch, retryOf }: { readonly ifMatch?: Condition<InstanceSnapshotInfo> | undefined; readonly retryOf?: string },
  ): Promise<string | undefined> {
    await find(caller, id)
    const { jobId } = await book.place(
      orderOf(caller, { snapshot: id }, (found) => {
        const { snapshot, parts } = found
        if (snapshot === undefined || snapshot.groupId !== caller.groupId) throw noSnapshot(id)
        requireCondition(ifMatch, snapshot)
        if (snapshot.status === 'deleting') return {}
        if (snapshot.status === 'creating') {
          const blockers = snapshot.jobId === null ? [] : [`job ${snapshot.jobId}`]
          throw new FleetError('conflict', 'the snapshot is still being made', { blockers })
        }
        return retrying(discard(fleet, snapshot, parts), retryOf)
      }),
    )
    return jobId
  }

  return {
    async create(caller, request) {
      requireRole(caller, 'operator')
      const jobId = await take(caller, checkKept(CaptureInstanceRequest, request))
      const made = await reader.madeBy(caller.groupId, jobId)
      if (made === undefined) throw new FleetError('not_found', 'the snapshot that was ordered is gone already')
      return made
    },

    async delete(caller, id, ifMatch) {
      requireRole(caller, 'operator')
      await remove(caller, id, { ifMatch })
    },

    async again(caller, { id: retryOf, spec, request }) {
      requireRole(caller, 'operator')
      if (spec.kind === 'instance.snapshot') {
        const { name, instance } = CaptureInstanceRequest.parse(request)
        return { jobId: await take(caller, { name, instance: spec.instanceId ?? instance }, retryOf) }
      }
      const jobId = await remove(caller, DiscardRequest.parse(request).id, { retryOf })
      if (jobId !== undefined) return { jobId }
      throw new FleetError('conflict', 'nothing of the snapshot was left, or it goes already')
    },

    get: find,

    list: (caller, filter, page) => reader.list(caller.groupId, filter, page),
  }
}

interface Asked {
  readonly request: z.infer<typeof CaptureInstanceRequest>
  readonly groupId: string
  readonly instance: PresentInstance
  readonly told: Told
  readonly found: CaptureFindings
}

/** The datasets of its group that it lies in, and the volumes that are attached to it. */
function capture({ request, groupId, instance, told, found }: Asked): CapturePlan {
  const id = newId()
  const mark = id.slice(-12)
  const { datasets, leftOut } = partsOf(told, found, { groupId, hostId: instance.hostId })
  const volumes = found.volumes.map((volume) => requireBeside(volume, instance, groupId))
  if (datasets.length + volumes.length === 0)
    throw new FleetError('conflict', `nothing of '${instance.name}' lies in a pool`)
  if (datasets.length + volumes.length > MAX_PARTS)
    throw new FleetError('conflict', `'${instance.name}' lies in more than ${MAX_PARTS} datasets and volumes`)
  const images = datasets.map((source) => ({ source, made: imageOf(source, mark) }))
  const snapshots = volumes.map((volume) => {
    const name = `instance-${mark}`
    const { groupId: of, id: volumeId, path, sizeBytes } = volume
    return { volume, made: { id: newId(), groupId: of, volumeId, name, path: `${path}@${name}`, sizeBytes } }
  })
  const parts: SpecOf<'instance.snapshot'>['parts'] = [
    ...images.map(({ source, made }) => ({
      kind: 'dataset' as const,
      source: placeOf(source),
      target: { pool: source.localPool, dataset: made.id },
    })),
    ...snapshots.map(({ volume, made }) => ({
      kind: 'volume' as const,
      place: { ...volumePlace(volume), snapshot: made.name },
      snapshotId: made.id,
    })),
  ]
  const { type, name, ref, host, hostId } = instance
  const spec: SpecOf<'instance.snapshot'> = {
    kind: 'instance.snapshot',
    place: { type, instance: ref },
    hold: 'pause',
    parts,
    instanceId: instance.id,
  }
  const holds: readonly Hold[] = [
    { lane: instance.id, exclusive: false },
    ...datasets.map((source) => ({ lane: source.id, exclusive: false })),
    ...volumes.map(({ lane }) => ({ lane, exclusive: true })),
  ]
  const decision = { request, spec, host: { id: hostId, name: host }, subject: null, holds: sorted(holds) }
  return {
    job: { id: newId(), decision: { ...decision, interactive: true } },
    snapshot: {
      ...{ id, groupId, name: request.name, instanceId: instance.id, instance: { type, name, host }, leftOut },
      parts: [
        ...images.map(({ source, made }) => ({ kind: 'dataset' as const, id: made.id, sourceId: source.id })),
        ...snapshots.map(({ volume, made }) => ({ kind: 'volume' as const, id: made.id, sourceId: volume.id })),
      ],
    },
    datasets: images.map(({ made }) => made),
    volumeSnapshots: snapshots.map(({ made }) => made),
  }
}

/** Root first, each once. What another group has is nobody's business here; a disk that its host has not told of before is not attached yet. */
function partsOf(
  { parts }: Told,
  found: CaptureFindings,
  of: { readonly groupId: string; readonly hostId: string },
): { readonly datasets: readonly LockedDataset[]; readonly leftOut: readonly string[] } {
  const datasets = new Map<string, LockedDataset>()
  const leftOut = new Set<string>()
  const attached = new Set(found.volumes.filter(({ hostId }) => hostId === of.hostId).map(nameOnHost))
  for (const { destination, dataset: place, volume } of parts) {
    if (volume !== undefined) {
      if (!attached.has(volume) && !found.disks.has(destination)) leftOut.add(destination)
      continue
    }
    const dataset = place === null ? undefined : found.dataset(place.dataset)
    const isOurs = dataset?.groupId === of.groupId && dataset.hostId === of.hostId
    if (dataset === undefined || !isOurs || dataset.localPool !== place?.pool) leftOut.add(destination)
    else datasets.set(dataset.id, requireAvailable(dataset))
  }
  return { datasets: [...datasets.values()], leftOut: [...leftOut].slice(0, MAX_LEFT_OUT) }
}

function requireAvailable(dataset: LockedDataset): LockedDataset {
  if (dataset.state === 'available') return dataset
  throw new FleetError('conflict', `'${dataset.name}' is ${DOING[dataset.state]}`)
}

/** @throws conflict for one on another host: two hosts have no instant in common. */
function requireBeside(volume: VolumeRow, instance: PresentInstance, groupId: string): VolumeRow {
  const { path, state } = volume
  if (volume.groupId !== groupId)
    throw new FleetError('conflict', `a volume of another group is attached to '${instance.name}'`)
  if (state !== 'available') throw new FleetError('conflict', `'${path}' is ${DOING[state]}`)
  if (volume.hostId === instance.hostId) return volume
  throw new FleetError(
    'conflict',
    `'${path}' lies on another host than '${instance.name}': no instant is common to both`,
    {
      blockers: [`volume ${path}`],
    },
  )
}

function imageOf(source: LockedDataset, mark: string): NewDataset {
  const { poolId, host, pool, driver, capabilities, ordinal } = source
  return {
    id: newId(),
    name: `${source.name.slice(0, NAME_MAX)}-${mark}`,
    pool: { id: poolId, host, pool, driver, capabilities },
    isSnapshot: true,
    readonly: true,
    origin: { id: source.id, ordinal, name: source.name },
    tags: {},
  }
}

/** What is there goes by one job, the root last; where nothing is, the snapshot goes at once. */
function discard(
  fleet: FleetView,
  snapshot: InstanceSnapshotInfo,
  standingParts: readonly StandingPart[],
): CapturePlan {
  const clones = standingParts.flatMap((part) => (part.kind === 'volume' ? part.clones : []))
  if (clones.length > 0) {
    const blockers = clones.map((path) => `volume ${path}`)
    throw new FleetError('conflict', 'volumes were cloned from it', { blockers })
  }
  const busy = standingParts.find((part) => stateOf(part) !== 'available')
  if (busy !== undefined) throw new FleetError('conflict', 'a part of it is being made or deleted')
  const parts = standingParts.toReversed()
  const ids = parts.map(idOf)
  const [first] = parts
  if (first === undefined) return { removes: { id: snapshot.id, parts: [] } }
  const { host, hostId } = first.kind === 'dataset' ? first.dataset : first.volume
  requireOnline(fleet, host)
  const spec: SpecOf<'instance.discard'> = {
    kind: 'instance.discard',
    parts: parts.map((part) =>
      part.kind === 'dataset'
        ? { kind: 'dataset', place: placeOf(part.dataset) }
        : { kind: 'volume', place: { ...volumePlace(part.volume), snapshot: part.name }, snapshotId: part.id },
    ),
    instanceId: snapshot.instanceId,
  }
  const lanes = new Set(parts.map((part) => (part.kind === 'dataset' ? part.dataset.id : part.volume.lane)))
  const holds = sorted([...lanes].map((lane) => ({ lane, exclusive: true })))
  const decision = { request: { id: snapshot.id }, spec, host: { id: hostId, name: host }, subject: null, holds }
  return {
    job: { id: newId(), decision: { ...decision, interactive: true } },
    removes: { id: snapshot.id, parts: ids },
  }
}

function retrying(plan: CapturePlan, retryOf: string | undefined): CapturePlan {
  if (plan.job === undefined || retryOf === undefined) return plan
  const { id, decision } = plan.job
  return { ...plan, job: { id, decision: { ...decision, retryOf } } }
}

function stateOf(part: StandingPart) {
  return part.kind === 'dataset' ? part.dataset.state : part.state
}

function idOf(part: StandingPart): string {
  return part.kind === 'dataset' ? part.dataset.id : part.id
}

function nameOnHost(volume: VolumeRow): string {
  const { pool, volume: name } = volumePlace(volume)
  return `${pool}/${name}`
}

function volumePlace({ path, localPool }: VolumeRow) {
  return { pool: localPool, volume: volumeNameOf(path)?.name ?? '' }
}

const DOING = { creating: 'still being made', deleting: 'being deleted' } as const

function noSnapshot(id: string): FleetError {
  return new FleetError('not_found', `there is no snapshot '${id}'`)
}
