import { newId } from '../../shared/ids.ts'
import { isTerminal } from '../../shared/job-machine.ts'
import { type JobKind, RESULT_SCHEMAS } from '../../shared/job-spec.ts'
import type { ExportElement, UnexportElement, VolumeMade, VolumeSnapshotMade } from '../../shared/volume-spec.ts'
import type { JobChange } from './job-change.ts'
import type { VolumeRow } from './volume-book.ts'
import { laneOf } from './volume-names.ts'
import type { KeptSnapshot, KeptVolume, VolumeTable } from './volume-table.ts'

type Place = ExportElement['place']

/** Kinds of jobs that make rows: while one of them that wants a lane is open, what is being made there stays. */
export const MAKERS: readonly JobKind[] = ['volume.create', 'volume.clone', 'volume.restore', 'export.create']

/** Whether the end of the job may change rows of volumes, snapshots or exports. */
export function concernsVolumes({ job, state }: Pick<JobChange, 'job' | 'state'>): boolean {
  const { kind } = job
  return isTerminal(state) && kind !== 'export.reconcile' && (kind.startsWith('volume.') || kind.startsWith('export.'))
}

/** What the ends of these jobs are about: their lanes, wwns, and snapshots by id and by the lane of their volume and name. */
export function namesOf(changes: readonly JobChange[]) {
  const [lanes, wwns, snapshots] = [new Set<string>(), new Set<string>(), new Set<string>()]
  const named: { lane: string; name: string }[] = []
  for (const { job } of changes) {
    const { spec, host } = job
    if (spec.kind === 'export.create' || spec.kind === 'export.delete') {
      for (const { place, wwn } of spec.elements) {
        lanes.add(laneOf.volume(host, place))
        lanes.add(laneOf.wwn(wwn))
        wwns.add(wwn)
      }
    } else if (spec.kind.startsWith('volume.') && 'place' in spec && 'volume' in spec.place) {
      const lane = laneOf.volume(host, spec.place)
      lanes.add(lane)
      if ('volumeId' in spec && spec.volumeId !== undefined) snapshots.add(spec.volumeId)
      if ('snapshot' in spec.place && spec.place.snapshot !== undefined) named.push({ lane, name: spec.place.snapshot })
      if (spec.kind === 'volume.clone' && spec.discardSource) {
        named.push({ lane: laneOf.volume(host, spec.source), name: spec.source.snapshot })
      }
      if (spec.kind !== 'volume.rollback') continue
      if (spec.safetyId !== undefined) snapshots.add(spec.safetyId)
      named.push({ lane, name: spec.safety })
    }
  }
  return { lanes: [...lanes], wwns: [...wwns], snapshots: [...snapshots], named }
}

/** What the end of one job makes of the rows: each element of a list by itself. */
export function settleVolumes(table: VolumeTable, change: JobChange): void {
  const { job, state } = change
  const { spec } = job
  const good = state === 'succeeded'
  const at = (place: Place) => ({ lane: laneOf.volume(job.host, place), place, groupId: job.groupId, jobId: job.id })
  switch (spec.kind) {
    case 'volume.create': {
      const made = good ? RESULT_SCHEMAS[spec.kind].parse(change.result) : undefined
      const where = { ...at(spec.place), id: spec.volumeId }
      if (made) volumeMade(table, where, { made, source: null })
      else volumeUnmade(table, where)
      return
    }
    case 'volume.clone': {
      const made = good ? RESULT_SCHEMAS[spec.kind].parse(change.result) : undefined
      const where = { ...at(spec.place), id: spec.volumeId }
      const { isParted = false, isSourceGone = false } = made ?? {}
      if (made) volumeMade(table, where, { made, source: isParted ? null : spec.source, isReplaced: isParted })
      else volumeUnmade(table, where)
      const source = isSourceGone ? table.standingSnapshot(pathOf(table, job.id, spec.source)) : undefined
      if (source) table.dropSnapshot(source.id)
      return
    }
    case 'volume.restore': {
      const made = good ? RESULT_SCHEMAS[spec.kind].parse(change.result).volume : undefined
      const where = { ...at(spec.place), id: spec.volumeId }
      if (made) volumeMade(table, where, { made, source: null, isReplaced: true })
      else volumeUnmade(table, where)
      return
    }
    case 'volume.rollback': {
      const { volume: made, safety } = good ? RESULT_SCHEMAS[spec.kind].parse(change.result) : {}
      const row = table.volume(spec.volumeId)
      if (made && row) table.keepVolume({ ...row, ...factsOf(made) })
      const own = table.snapshot(spec.safetyId)
      const at = { ...spec.place, snapshot: spec.safety }
      if (safety) snapshotMade(table, own ?? table.standingSnapshot(pathOf(table, job.id, at)), safety)
      else if (own?.state === 'creating') table.dropSnapshot(own.id)
      return
    }
    case 'volume.resize': {
      const row = table.volume(spec.volumeId)
      if (good && row) table.keepVolume({ ...row, ...factsOf(RESULT_SCHEMAS[spec.kind].parse(change.result)) })
      return
    }
    case 'volume.snapshot': {
      const made = good ? RESULT_SCHEMAS[spec.kind].parse(change.result) : undefined
      const own = table.snapshot(spec.volumeId)
      if (made) snapshotMade(table, own ?? table.standingSnapshot(pathOf(table, job.id, spec.place)), made)
      else if (own?.state === 'creating') table.dropSnapshot(own.id)
      return
    }
    case 'volume.delete': {
      if (spec.place.snapshot === undefined) volumeGone(table, spec.volumeId, good)
      else snapshotGone(table, spec.volumeId, good)
      return
    }
    case 'export.create': {
      const told = good ? RESULT_SCHEMAS[spec.kind].parse(change.result) : undefined
      const done = new Map(told?.done.map((one) => [one.n, one]))
      for (const element of spec.elements) {
        const made = done.get(element.n)
        const where = { ...at(element.place), id: element.volumeId }
        if (made) {
          volumeMade(table, where, { made: made.volume, source: element.source, isKnown: element.source === null })
          exportMade(table, where, element)
        } else {
          exportUnmade(table, element, job.id)
          volumeUnmade(table, where)
        }
      }
      return
    }
    case 'export.delete': {
      const told = good ? RESULT_SCHEMAS[spec.kind].parse(change.result) : undefined
      const done = new Set(told?.done.map(({ n }) => n))
      const unexported = new Set(told?.errors.flatMap((one) => (one.unexported ? [one.n] : [])))
      for (const element of spec.elements)
        removalEnded(table, element, { done: done.has(element.n), unexported: unexported.has(element.n) })
      return
    }
    default:
  }
}

interface Where {
  readonly lane: string
  readonly place: Place
  readonly groupId: string
  readonly jobId: string
  readonly id: string | undefined
}

function factsOf({ sizeBytes, device, guid }: VolumeMade): Pick<VolumeRow, 'sizeBytes' | 'device' | 'guid'> {
  return { sizeBytes, device, guid }
}

/**
 * Its row is available now, unless it goes already. Where an order that came to nothing took the row away, the one of that place that
 * stands is it, or it gets another. `isKnown`: it was there before the job, and needs no row. `isReplaced`:
 * it shares nothing with what it was cloned of.
 */
function volumeMade(
  table: VolumeTable,
  { id, lane, place, groupId, jobId }: Where,
  given: {
    readonly made: VolumeMade
    readonly source: ExportElement['source']
    readonly isKnown?: boolean
    readonly isReplaced?: boolean
  },
): void {
  const { made, source, isKnown = false, isReplaced = false } = given
  const row = table.volume(id) ?? table.standing(lane)
  if (row !== undefined) {
    if (row.groupId !== groupId) return
    const state = row.state === 'creating' ? 'available' : row.state
    table.keepVolume({ ...row, ...factsOf(made), state, ...(isReplaced ? { origin: null } : {}) })
    return
  }
  const pool = isKnown ? undefined : table.pool(jobId, place.pool)
  if (pool === undefined) return
  const origin = source === null ? null : `${pool.name}/${source.volume}@${source.snapshot}`
  table.keepVolume({
    ...{ id: id ?? newId(), groupId, lane, origin, ...factsOf(made), state: 'available' },
    ...{ path: `${pool.name}/${place.volume}`, poolId: pool.id },
  })
}

/** What it was to make is no more, whoever wanted it gone meanwhile; what was there before, or is made by another job, stays. */
function volumeUnmade(table: VolumeTable, { id, lane }: Pick<Where, 'id' | 'lane'>): void {
  const row = table.volume(id)
  if (row !== undefined && isUnmade(row) && !table.isMadeByOthers(lane)) table.dropVolume(row.id)
}

/** Nobody has ever made it: what stands at its place, if anything does, is not it. */
function isUnmade({ guid }: KeptVolume): boolean {
  return guid === null
}

function exportMade(table: VolumeTable, { place, groupId, jobId }: Where, element: ExportElement): void {
  const { wwn, access, exportId } = element
  const row = table.export(exportId) ?? table.standingExport(wwn)
  const { initiators, chapUser, isReadonly = false } = access
  const secretId = chapUser === null ? null : table.secretOf(jobId)
  const now = { initiators, chapUser, isReadonly, secretId }
  if (row !== undefined) {
    if (row.groupId !== groupId) return
    table.keepExport({ ...row, ...now, state: row.state === 'creating' ? 'available' : row.state })
    return
  }
  const pool = table.pool(jobId, place.pool)
  if (pool === undefined) return
  const volume = `${pool.name}/${place.volume}`
  table.keepExport({ id: exportId, groupId, wwn, volume, poolId: pool.id, ...now, state: 'available' })
}

function exportUnmade(table: VolumeTable, { wwn, exportId }: ExportElement, jobId: string): void {
  const row = table.export(exportId)
  if (row === undefined || table.isMadeByOthers(laneOf.wwn(wwn))) return
  // One that came with this very order is gone, also where a removal was ordered behind it, or given up again.
  if (row.state === 'creating' || table.isOrderedBy(row.id, jobId)) table.dropExport(row.id)
}

function removalEnded(
  table: VolumeTable,
  { exportId, volumeId, deleteVolume }: UnexportElement,
  ended: { readonly done: boolean; readonly unexported: boolean },
): void {
  exportGone(table, exportId, ended.done || ended.unexported)
  if (deleteVolume) volumeGone(table, volumeId, ended.done)
}

/** Gone is gone, also where an earlier order that failed has said otherwise. */
function exportGone(table: VolumeTable, id: string | undefined, isGone: boolean): void {
  const row = table.export(id)
  if (row === undefined || (!isGone && row.state !== 'deleting')) return
  // Whoever waited to make another of its name finds this one.
  const other = isGone ? row : table.standingExport(row.wwn)
  if (other !== undefined) table.dropExport(other.id)
  if (!isGone) table.keepExport({ ...row, state: 'available' })
}

function volumeGone(table: VolumeTable, id: string | undefined, isRemoved: boolean): void {
  const row = table.volume(id)
  if (row === undefined || (!isRemoved && row.state !== 'deleting')) return
  const isStillMade = isUnmade(row) && table.isMadeByOthers(row.lane)
  const isGone = isRemoved || (isUnmade(row) && !isStillMade)
  const other = isGone ? row : table.standing(row.lane)
  if (other !== undefined) table.dropVolume(other.id)
  if (!isGone) table.keepVolume({ ...row, state: isStillMade ? 'creating' : 'available' })
}

/** What clients call a snapshot; undefined where its pool is gone. */
function pathOf(
  table: VolumeTable,
  jobId: string,
  { pool: localName, volume, snapshot }: Place & { readonly snapshot: string },
): string | undefined {
  const pool = table.pool(jobId, localName)
  return pool && `${pool.name}/${volume}@${snapshot}`
}

function snapshotMade(table: VolumeTable, row: KeptSnapshot | undefined, made: VolumeSnapshotMade): void {
  if (row) table.keepSnapshot({ ...row, ...made, state: row.state === 'creating' ? 'available' : row.state })
}

function snapshotGone(table: VolumeTable, id: string | undefined, isGone: boolean): void {
  const row = table.snapshot(id)
  if (row?.state !== 'deleting') return
  const other = isGone ? row : table.standingSnapshot(row.path)
  if (other !== undefined) table.dropSnapshot(other.id)
  if (!isGone) table.keepSnapshot({ ...row, state: 'available' })
}
