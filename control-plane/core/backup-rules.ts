import { FleetError } from '../../shared/errors.ts'
import type { Caller } from './caller.ts'
import { type Condition, requireCondition } from './condition.ts'
import { noTarget, type TargetInfo, type Targets } from './targets.ts'

const BUSY = { creating: 'still being made', restoring: 'being restored', deleting: 'being deleted' } as const

interface WithStatus {
  readonly status: keyof typeof BUSY | 'available' | 'error'
}

/** What a backup of a volume or an instance is doing, in words. */
export function doing(status: keyof typeof BUSY): string {
  return `the backup is ${BUSY[status]}`
}

/** @throws conflict. */
export function requireIdle({ status }: WithStatus): void {
  if (status !== 'available' && status !== 'error') throw new FleetError('conflict', doing(status))
}

/** The next increment may be asked for. @throws stale, invalid (not incremental), conflict (busy) */
export function requireUpdatable<Backup extends WithStatus & { readonly isIncremental: boolean }>(
  backup: Backup,
  ifMatch: Condition<Backup> | undefined,
): Backup {
  requireCondition(ifMatch, backup)
  if (!backup.isIncremental) throw new FleetError('invalid', 'the backup is not incremental', { field: 'update' })
  requireIdle(backup)
  return backup
}

/** What a restore takes: its newest good point. @throws conflict: there is none, or it is busy */
export function restorablePoint(backup: WithStatus & { readonly points: readonly string[] }): string {
  requireIdle(backup)
  const point = backup.points.at(-1)
  if (point === undefined) throw new FleetError('conflict', 'the backup has no good point to restore')
  return point
}

/** @throws conflict: somebody wants these points kept. */
export function requireUnpinned(pinned: readonly string[]): void {
  if (pinned.length === 0) return
  const blockers = pinned.map((point) => `point ${point}`)
  throw new FleetError('conflict', 'points of the backup are pinned', { blockers })
}

export function noBackup(id: string): FleetError {
  return new FleetError('not_found', `there is no backup '${id}'`)
}

/** The one that a request for a backup names. @throws not_found */
export async function targetNamed(targets: Pick<Targets, 'get'>, caller: Caller, id: string): Promise<TargetInfo> {
  try {
    return await targets.get(caller, id)
  } catch (error) {
    throw isCode(error, 'not_found') ? noTarget(id, 'target') : error
  }
}

export function isCode(error: unknown, ...codes: readonly FleetError['code'][]): error is FleetError {
  return error instanceof FleetError && codes.includes(error.code)
}
