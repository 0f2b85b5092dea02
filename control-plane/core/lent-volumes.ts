import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { FleetError, toFleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import { isCode, noBackup, requireUpdatable, restorablePoint, targetNamed } from './backup-rules.ts'
import { GIB, idFor } from './block-rules.ts'
import { type Caller, requireRole } from './caller.ts'
import { checkKept } from './check-request.ts'
import type { FleetView } from './fleet-view.ts'
import type { CallersService, LendingService, LentSnapshot, LentVolume, TokenOf } from './lending.ts'
import { LOAN_MARK, type LoanStore, type NewLoan } from './loans.ts'
import { anyLunHost, lunInitiator } from './lun-hosts.ts'
import { seriesOf } from './point-series.ts'
import type { Points } from './points.ts'
import type { Targets } from './targets.ts'
import { changeVersion } from './version-change.ts'
import { CreateVolumeBackupRequest } from './volume-backup-requests.ts'
import { backupSeries } from './volume-backup-state.ts'
import type {
  CreateVolumeBackup,
  NewVolumeBackup,
  VolumeBackupCondition,
  VolumeBackupInfo,
  VolumeBackupStore,
} from './volume-backups.ts'

/** What a client wants of a new volume in the service behind us, in that one's own words. */
export interface RestoreLentVolume {
  readonly backupId: string
  readonly sizeGib?: number | undefined
  /** Everything else that was asked of it. */
  readonly words: Readonly<Record<string, unknown>>
}

/**
 * Volumes of the block service behind us, in the name of a caller who shows a token of that service: the caller's group must be the one that
 * stands for the token's project. All throw unauthorized, forbidden (the token), unavailable (that service, or a host that can log in there),
 * refused (we have no credentials there).
 */
export interface LentVolumes {
  /** Whether a request shows a token of that service at all. */
  isShown(token: string | undefined): Promise<boolean>
  /** @throws invalid, not_found (volume, snapshot, target), conflict (in use without `force`) */
  backUp(caller: Caller, token: string, request: CreateVolumeBackup): Promise<VolumeBackupInfo>
  /** @throws not_found, invalid (not incremental), conflict (another job about it goes on, the volume is gone) */
  update(caller: Caller, token: string, id: string, ifMatch?: VolumeBackupCondition): Promise<void>
  /** A new volume of a backup's newest good point. @returns what that service says of it. @throws not_found, invalid (size), conflict */
  restore(caller: Caller, token: string, wish: RestoreLentVolume): Promise<{ readonly id: string }>
  /** @throws not_found, conflict: the volume is not available, or the snapshot not its newest */
  rollback(caller: Caller, token: string, volumeId: string, snapshotId: string): Promise<void>
}

const PATIENCE_MS = 20_000
const LOOK_MS = 250

const isId = (id: string) => z.uuid().safeParse(id).success

export function createLentVolumes(deps: {
  readonly store: LoanStore
  readonly backups: Pick<VolumeBackupStore, 'find'>
  readonly service: LendingService
  readonly asCaller: CallersService
  readonly points: Pick<Points, 'get'>
  readonly targets: Pick<Targets, 'get'>
  readonly fleet: FleetView
  /** The id of the group that stands for a project. */
  readonly groupNamed: (project: string) => Promise<string | undefined>
  /** How long the answer to a restore waits for the new volume to be reserved. */
  readonly patienceMs?: number | undefined
}): LentVolumes {
  const { patienceMs = PATIENCE_MS } = deps
  const { store, backups, service, asCaller, points, targets, fleet, groupNamed } = deps

  async function shownBy(caller: Caller, token: string): Promise<TokenOf> {
    requireRole(caller, 'operator')
    const project = await asCaller.projectOf(token)
    if (project === undefined) throw new FleetError('unauthorized', 'the token is none of the block service behind')
    if ((await groupNamed(project)) === caller.groupId) return { token, project }
    throw new FleetError('forbidden', 'you do not act for the group that stands for the project of that token')
  }

  /** @throws not_found, also for one of another project, whoever may see that there; refused (encrypted) */
  async function volumeOf(as: TokenOf, id: string): Promise<LentVolume> {
    const volume = isId(id) ? await asCaller.volume(as, id) : undefined
    if (volume === undefined || volume.project !== as.project)
      throw new FleetError('not_found', `there is no volume '${id}'`, { field: 'volume' })
    if (!volume.isEncrypted) return volume
    const message = 'the block service keeps that volume encrypted, with a key that a backup would be useless without'
    throw new FleetError('refused', message, { field: 'volume' })
  }

  async function snapshotOf(as: TokenOf, volume: LentVolume, id: string): Promise<LentSnapshot> {
    const field = 'snapshot'
    const snapshot = isId(id) ? await asCaller.snapshot(as, id) : undefined
    if (snapshot === undefined) throw new FleetError('not_found', `there is no snapshot '${id}'`, { field })
    if (snapshot.volumeId !== volume.id)
      throw new FleetError('invalid', `snapshot: is not one of '${nameOf(volume)}'`, { field })
    if (snapshot.status === 'available') return snapshot
    throw new FleetError('conflict', `the snapshot '${id}' is '${snapshot.status}' there`, { field })
  }

  /** Whose backup root, or target, the points of a backup lie in. @throws unavailable */
  function placeOf(backup: Pick<NewVolumeBackup, 'id' | 'groupId' | 'targetId'>) {
    const host = anyLunHost(fleet, backup.targetId === null)
    return { host: backup.targetId === null ? host.name : null, seriesId: seriesIdOn(host, backup) }
  }

  async function find(caller: Caller, id: string): Promise<VolumeBackupInfo> {
    const backup = await backups.find(caller.groupId, id)
    if (backup === undefined) throw noBackup(id)
    return backup
  }

  /** The only one that a backup without a target can go on; null: any. @throws unavailable, conflict */
  async function hostOf(backup: VolumeBackupInfo): Promise<string | null> {
    if (backup.target !== null) {
      anyLunHost(fleet, false)
      return null
    }
    const seriesId = await store.seriesOf(backup.id)
    const own = { id: backup.id, groupId: backup.groupId, targetId: null }
    const host = [...fleet.hosts()].find((one) => seriesIdOn(one, own) === seriesId)
    if (host === undefined) throw new FleetError('conflict', 'the host that keeps the backup is gone')
    return lunInitiator(fleet, host.name).host
  }

  /** @returns undefined when it has another version by now */
  async function updateOf(caller: Caller, as: TokenOf, backup: VolumeBackupInfo): Promise<true | undefined> {
    const { id: backupId, groupId, volumeId } = backup
    if (backup.project !== as.project) throw noBackup(backupId)
    const volume = await volumeOf(as, volumeId).catch((error: unknown) => {
      if (!isCode(error, 'not_found')) throw error
      const message = `the volume '${backup.volume}' is gone; the backup can still be restored`
      throw new FleetError('conflict', message, { cause: error })
    })
    const loan: NewLoan = {
      ...{ id: newId(), groupId, backupId, kind: 'read', project: as.project, volumeId, snapshotId: null },
      ...{ sizeBytes: volume.sizeBytes, host: await hostOf(backup) },
    }
    return (await store.begin(caller, loan, backup)) || undefined
  }

  async function make(
    as: TokenOf,
    loan: NewLoan,
    words: Readonly<Record<string, unknown>>,
  ): Promise<{ readonly id: string }> {
    const metadata = typeof words.metadata === 'object' ? words.metadata : {}
    const body = { ...words, size: loan.sizeBytes / GIB, metadata: { ...metadata, [LOAN_MARK]: loan.id } }
    const made = await asCaller.makeVolume(as, body).catch(async (error: unknown) => {
      // It said no: there is nothing. Of anything else a tick finds out.
      if (!isCode(error, 'unavailable', 'timeout', 'internal') && error instanceof FleetError)
        await store.forget(loan.id)
      throw toFleetError(error)
    })
    if (!(await store.made(loan.id, made.id)))
      throw new FleetError('unavailable', 'the block service answered too late, and the volume is deleted again')
    // Nobody is told of it before it is reserved, as long as that does not take too long: it is `available` there for a moment.
    const untilMs = performance.now() + patienceMs
    while (performance.now() < untilMs && (await store.phaseOf(loan.id)) === 'reserve') await delay(LOOK_MS)
    return asCaller.told(as, made.id).catch(() => made)
  }

  return {
    isShown: async (token) => (await asCaller.projectOf(token)) !== undefined,

    async backUp(caller, token, request) {
      const as = await shownBy(caller, token)
      const asked = checkKept(CreateVolumeBackupRequest, request)
      service.ready()
      const volume = await volumeOf(as, asked.volume)
      const snapshot = asked.snapshot === undefined ? undefined : await snapshotOf(as, volume, asked.snapshot)
      if (snapshot === undefined) requireUsable(volume, asked.force)
      const targetId = asked.target === undefined ? null : (await targetNamed(targets, caller, asked.target)).id
      const { groupId } = caller
      const made: NewVolumeBackup = {
        ...{ id: idFor(caller, 'lent volume backup'), groupId, name: asked.name, volumeId: volume.id },
        ...{ volume: nameOf(volume), snapshotId: snapshot?.id ?? null, targetId, isIncremental: asked.incremental },
        ...{ retention: asked.retention, instanceBackupId: null },
      }
      const { host, seriesId } = placeOf(made)
      const loan: NewLoan = {
        ...{ id: newId(), groupId, backupId: made.id, kind: 'read', project: as.project, volumeId: volume.id, host },
        ...{ snapshotId: snapshot?.id ?? null, sizeBytes: (snapshot ?? volume).sizeBytes },
      }
      // One that is there already was made by an earlier request under this key.
      await store.beginBackup(caller, loan, { ...made, project: as.project, seriesId })
      return find(caller, made.id)
    },

    async update(caller, token, id, ifMatch) {
      const as = await shownBy(caller, token)
      service.ready()
      await changeVersion(
        async () => requireUpdatable(await find(caller, id), ifMatch),
        (backup) => updateOf(caller, as, backup),
      )
    },

    async restore(caller, token, { backupId, sizeGib, words }) {
      const as = await shownBy(caller, token)
      service.ready()
      const backup = await find(caller, backupId)
      const point = restorablePoint(backup)
      const leastGib = Math.max(1, Math.ceil(backup.sizeBytes / GIB))
      const size = sizeGib ?? leastGib
      if (!Number.isInteger(size) || size < leastGib)
        throw new FleetError('invalid', `size: must be at least ${leastGib}, as what it is made of`, { field: 'size' })
      // Where it lies on a host itself, that one must do it.
      const host = backup.target === null ? lunInitiator(fleet, (await points.get(caller, point)).host).host : null
      if (host === null) anyLunHost(fleet, false)
      const loan: NewLoan = {
        ...{ id: newId(), groupId: caller.groupId, backupId, kind: 'write', project: as.project, volumeId: null, host },
        ...{ snapshotId: null, sizeBytes: size * GIB },
      }
      if (!(await store.begin(caller, loan, backup))) throw new FleetError('conflict', 'a job about the backup goes on')
      return make(as, loan, words)
    },

    async rollback(caller, token, volumeId, snapshotId) {
      const as = await shownBy(caller, token)
      const volume = isId(volumeId) ? await asCaller.volume(as, volumeId) : undefined
      if (volume === undefined || volume.project !== as.project)
        throw new FleetError('not_found', `there is no volume ${volumeId}`)
      const snapshots = await asCaller.snapshotsOf(as, volumeId)
      if (!snapshots.some(({ id }) => id === snapshotId))
        throw new FleetError('not_found', `volume ${volumeId} has no snapshot ${snapshotId}`)
      if (volume.status !== 'available')
        throw new FleetError('conflict', `the volume is '${volume.status}' there: it must be detached, and 'available'`)
      const newest = snapshots.at(-1)?.id
      if (newest !== snapshotId) {
        const message = `the block service goes back to the newest snapshot alone, which is ${newest}: delete what is newer than ${snapshotId}`
        throw new FleetError('conflict', message, { blockers: [`snapshot ${newest}`] })
      }
      await asCaller.revert(as, volumeId, snapshotId)
    },
  }
}

/** @throws conflict. */
function requireUsable({ id, status }: LentVolume, force: boolean): void {
  if (status === 'available' || (status === 'in-use' && force)) return
  const how = status === 'in-use' ? ': ask with force, or for one of its snapshots' : ''
  throw new FleetError('conflict', `the volume ${id} is '${status}' there${how}`)
}

function nameOf({ id, name }: LentVolume): string {
  return name === null || name === '' ? id : name
}

function seriesIdOn(
  host: { readonly id: string; readonly name: string },
  { id, groupId, targetId }: Pick<NewVolumeBackup, 'id' | 'groupId' | 'targetId'>,
): string {
  const source = { kind: 'volume', id, name: id, snapshot: null } as const
  return seriesOf({ groupId, targetId, host, source, path: '', directory: backupSeries(id) }).id
}
