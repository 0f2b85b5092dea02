/** What decided about a point, for machines; told to people by `KEEP_REASONS` and `DELETE_REASONS`. */
export type KeepRule =
  | 'newest'
  | 'count'
  | 'daily'
  | 'weekly'
  | 'monthly'
  | 'unlimited'
  | 'running'
  | 'pinned'
  | 'in_use'
  | 'future'
  | 'unreplaced'
  | 'waits'
  | 'base'
export type DeleteRule = 'superseded' | 'incomplete' | 'failed'

/** `count`: how many good points stay by number; `dependant`: a point that is restored from this one and stays. */
interface Facts {
  readonly count: number
  readonly dependant?: string | undefined
}

export const KEEP_REASONS: Readonly<Record<KeepRule, (facts: Facts) => string>> = {
  newest: () => 'the newest good point is never deleted',
  count: ({ count }) => `one of the newest ${count} good points`,
  daily: () => 'the newest good point of its day',
  weekly: () => 'the newest good point of its week',
  monthly: () => 'the newest good point of its month',
  unlimited: () => 'retention is unlimited',
  running: () => 'it is being made',
  pinned: () => 'it is pinned',
  in_use: () => 'it is in use',
  future: () => 'it is dated after now: some clock is or was wrong',
  unreplaced: () => 'it is not good, but too few good points are newer',
  waits: () => 'it would go, but nothing is deleted until the newest run is good',
  base: ({ dependant }) => `${dependant} is restored from it`,
}

export const DELETE_REASONS: Readonly<Record<DeleteRule, string>> = {
  superseded: 'no rule keeps it, and the newest run was good',
  incomplete: 'it is not good, and enough good points are newer',
  failed: 'its run failed, and a good point is newer',
}
