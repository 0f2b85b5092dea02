import { FleetError } from '../../../shared/errors.ts'
import type { CreateRestoreTask } from '../../core/restore-tasks.ts'
import type { ChangeSchedule, CreateSchedule, Schedule } from '../../core/schedules.ts'
import type { ChangeBackupBody, CreateBackupBody, CreateRestoreBody } from './backup-schemas.ts'
import { createClientWords } from './client-words.ts'

export const inBackupWords = createClientWords(
  {
    name: 'job_name',
    container: 'container_id',
    disabled: 'disable',
    target: 'dest.profile',
    path: 'dest.path',
  },
  ['container'],
)

export const inRestoreWords = createClientWords({
  name: 'job_name',
  container: 'container_id',
  disabled: 'disable',
  source: 'src',
  'source.target': 'src.profile',
  target: 'src.profile',
  path: 'src.path',
  portfolio: 'src.portfolio',
})

/** Core's name of a target; undefined: the host's own backup root. */
function targetOf(profile: number | undefined): string | undefined {
  return profile === undefined ? undefined : String(profile)
}

export function newSchedule({ job_name, container_id, dest, disable, ...rest }: CreateBackupBody): CreateSchedule {
  const target = targetOf(dest.profile)
  return { ...rest, name: job_name, container: container_id, disabled: disable, target, path: dest.path }
}

export function newRestoreTask({
  job_name,
  container_id,
  src,
  disable,
  ...rest
}: CreateRestoreBody): CreateRestoreTask {
  const source = { target: targetOf(src.profile), path: src.path, portfolio: src.portfolio }
  return { ...rest, name: job_name, container: container_id, disabled: disable, source }
}

/** @throws invalid: what is remote needs a profile, and nothing else has one. */
function changedTarget(dest: ChangeBackupBody['dest'], current: Schedule): Pick<ChangeSchedule, 'target'> {
  if (dest?.target === undefined && dest?.profile === undefined) return {}
  const isRemote = (dest.target ?? (current.target === null ? 'local' : 'remote')) === 'remote'
  const field = 'dest.profile'
  if (!isRemote) {
    if (dest.profile === undefined) return { target: null }
    throw new FleetError('invalid', `${field}: goes with target 'remote' only`, { field })
  }
  const target = targetOf(dest.profile ?? current.target?.number)
  if (target === undefined) throw new FleetError('invalid', `${field}: is required`, { field })
  return { target }
}

/**
 * Members that are absent stay, so that who knows nothing of `keep` does not take it away; null takes one away. Where the kind
 * changes, a `start` of the other kind and days of another calendar go.
 */
function mergedAt(at: Readonly<Record<string, unknown>>, current: Schedule['at']): unknown {
  const kept: Record<string, unknown> = { ...current }
  if (at.repeat !== undefined && at.repeat !== current.repeat) {
    delete kept.days
    if (at.repeat === 'oneshot' || current.repeat === 'oneshot') delete kept.start
  }
  return Object.fromEntries(Object.entries({ ...kept, ...at }).filter(([, value]) => value !== null))
}

/** Whether what is asked depends on what there is. */
export function isMerged({ at, dest }: ChangeBackupBody): boolean {
  return at !== undefined || dest?.target !== undefined || dest?.profile !== undefined
}

/** What of a change does not depend on what there is. */
export function plainChange(body: ChangeBackupBody): ChangeSchedule {
  const { job_name, container_id, dest, at: _, disable, ...rest } = body
  return { ...rest, name: job_name, container: container_id, disabled: disable, path: dest?.path }
}

/** @param current what it is asked to change. @throws invalid */
export function mergedChange(body: ChangeBackupBody, current: Schedule): ChangeSchedule {
  const at = body.at === undefined ? {} : { at: mergedAt(body.at, current.at) }
  return { ...plainChange(body), ...changedTarget(body.dest, current), ...at }
}
