import assert from 'node:assert'
import { basesNeeded, dependantsFirst, soundnessOf } from './retention-chains.ts'
import { DELETE_REASONS, type DeleteRule, KEEP_REASONS, type KeepRule } from './retention-reasons.ts'
import type { Keep } from './retention-schema.ts'

/** A point that stands: not deleted, nor on its way out. */
export interface RetentionPoint {
  readonly id: string
  readonly status: 'running' | 'good' | 'partial' | 'failed'
  readonly damaged: boolean
  /** Epoch ms: the due instant of its run, else when the run was ordered. Decides its order, its day, week and month. */
  readonly takenAtMs: number
  /** Ids of the points that it completes. One that is not among the points asked about is lost. */
  readonly bases: readonly string[]
  readonly pinned: boolean
  /** Something reads it or builds on it just now. */
  readonly inUse: boolean
}

export interface RetentionQuestion {
  /** All of one schedule, in any order. */
  readonly points: readonly RetentionPoint[]
  /** 0, or from 2 up. */
  readonly retention: number
  readonly keep?: Keep | undefined
  /** IANA; the schedule's. */
  readonly timezone: string
  readonly nowMs: number
  /** False where the newest run ended badly and left no point to tell it. */
  readonly newestRunGood?: boolean | undefined
}

export interface Decision<Rule> {
  readonly id: string
  readonly rule: Rule
  /** For people. */
  readonly why: string
}

export interface RetentionDecision {
  /** What is restored from others comes before them, so whoever stops half way leaves every chain whole. */
  readonly delete: readonly Decision<DeleteRule>[]
  /** Newest first. */
  readonly keep: readonly Decision<KeepRule>[]
}

/** `keep` alone could mean a single point, which would go the moment the next is whole. */
const GOOD_MIN = 2

const PERIODS = ['daily', 'weekly', 'monthly'] as const
type Period = (typeof PERIODS)[number]

const FIRST_DAY_OF: Readonly<Record<Period, (date: Temporal.PlainDate) => Temporal.PlainDate>> = {
  daily: (date) => date,
  weekly: (date) => date.subtract({ days: date.dayOfWeek - 1 }),
  monthly: (date) => date.with({ day: 1 }),
}

/** What one point is judged by. */
interface Standing {
  readonly isSound: boolean
  readonly isFuture: boolean
  /** How many good points stay by number, `Infinity` for all, and how many are newer than this one. */
  readonly count: number
  readonly newerGood: number
  /** How many stay for their day, and how many of those are newer. */
  readonly days: number
  readonly newerDays: number
  readonly period: Period | undefined
}

/**
 * Which points stay and which go. Pure: once what it says is deleted, it says nothing more. The rules:
 * docs/decisions/0036-retention.md.
 */
export function decideRetention(question: RetentionQuestion): RetentionDecision {
  const { nowMs, keep } = question
  const count = countOf(question)
  const days = keep?.daily ?? 0
  const points = question.points.toSorted((a, b) => b.takenAtMs - a.takenAtMs || (a.id < b.id ? 1 : -1))
  const isSound = soundnessOf(points)
  const past = points.filter((point) => point.takenAtMs <= nowMs)
  const good = past.filter(isSound)
  const newest = past.find((point) => point.status !== 'running')
  const mayDelete = newest !== undefined && isSound(newest) && question.newestRunGood !== false

  const periods = newestOfPeriods(good, keep ?? {}, question.timezone)
  const kept = new Map<string, KeepRule>()
  const doomed = new Map<string, DeleteRule>()
  let newerGood = 0
  let newerDays = 0
  for (const point of points) {
    const isFuture = point.takenAtMs > nowMs
    const period = periods.get(point.id)
    const standing = { isSound: isSound(point), isFuture, count, newerGood, days, newerDays, period }
    const keptBy = keepRuleOf(point, standing)
    if (keptBy !== undefined) kept.set(point.id, keptBy)
    else if (mayDelete) doomed.set(point.id, deleteRuleOf(point, standing))
    else kept.set(point.id, 'waits')
    if (standing.isSound && !isFuture) newerGood += 1
    if (period === 'daily') newerDays += 1
  }

  const needed = basesNeeded(points, kept.keys())
  return {
    delete: dependantsFirst(points).flatMap(({ id }) => {
      const rule = doomed.get(id)
      return rule === undefined || needed.has(id) ? [] : [{ id, rule, why: DELETE_REASONS[rule] }]
    }),
    keep: points.flatMap(({ id }) => {
      const rule = kept.get(id) ?? (needed.has(id) ? 'base' : undefined)
      return rule === undefined ? [] : [{ id, rule, why: KEEP_REASONS[rule]({ count, dependant: needed.get(id) }) }]
    }),
  }
}

function countOf({ retention, keep }: RetentionQuestion): number {
  assert(retention === 0 || retention >= GOOD_MIN, 'a retention is 0 or at least 2')
  const keepsPeriods = PERIODS.some((period) => (keep?.[period] ?? 0) > 0)
  return retention || (keepsPeriods ? GOOD_MIN : Number.POSITIVE_INFINITY)
}

function keepRuleOf(point: RetentionPoint, standing: Standing): KeepRule | undefined {
  if (standing.isFuture) return 'future'
  if (point.status === 'running') return 'running'
  const rule = standing.isSound ? keepRuleOfGood(standing) : keepRuleOfOther(point, standing)
  if (rule !== undefined) return rule
  if (point.pinned) return 'pinned'
  return point.inUse ? 'in_use' : undefined
}

function keepRuleOfGood({ newerGood, count, period }: Standing): KeepRule | undefined {
  if (newerGood === 0) return 'newest'
  if (count === Number.POSITIVE_INFINITY) return 'unlimited'
  return newerGood < count ? 'count' : period
}

/** Of a failed run nothing can be restored; a point that is partial or damaged lives as long as a good one of its time. */
function keepRuleOfOther(point: RetentionPoint, standing: Standing): KeepRule | undefined {
  const { newerGood, count, newerDays, days } = standing
  if (newerGood === 0) return 'unreplaced'
  if (point.status === 'failed') return undefined
  if (count === Number.POSITIVE_INFINITY) return 'unlimited'
  return newerGood < count || newerDays < days ? 'unreplaced' : undefined
}

function deleteRuleOf(point: RetentionPoint, { isSound }: Standing): DeleteRule {
  if (isSound) return 'superseded'
  return point.status === 'failed' ? 'failed' : 'incomplete'
}

/**
 * The newest point of each of the newest days, weeks and months that have one, with the shortest of its periods. Days
 * without a point do not count, so that time in which nothing ran takes nothing away.
 * @param good Newest first.
 */
function newestOfPeriods(good: readonly RetentionPoint[], keep: Keep, timezone: string): Map<string, Period> {
  const found = new Map<string, Period>()
  for (const period of PERIODS) {
    const wanted = keep[period] ?? 0
    const seen = new Set<string>()
    for (const { id, takenAtMs } of good) {
      if (seen.size >= wanted) break
      const zoned = new Temporal.ZonedDateTime(BigInt(takenAtMs) * 1_000_000n, timezone)
      const first = FIRST_DAY_OF[period](zoned.toPlainDate()).toString()
      if (!seen.has(first) && !found.has(id)) found.set(id, period)
      seen.add(first)
    }
  }
  return found
}
