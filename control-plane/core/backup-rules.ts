import { FleetError } from '../../shared/errors.ts'
import type { Caller } from './caller.ts'
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

/** @throws invalid. */
export function requireIncremental({ isIncremental }: { readonly isIncremental: boolean }): void {
  if (!isIncremental) throw new FleetError('invalid', 'the backup is not incremental', { field: 'update' })
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
