import { FleetError } from '../../shared/errors.ts'

/**
 * What a caller expects of the thing it changes (`If-Match`). It is asked about the row that the change is decided on, so
 * of two callers with the same expectation only the first is right.
 */
export type Condition<Thing> = (current: Thing) => boolean

/** @throws stale unless `current` is what the caller expects; no condition expects anything. */
export function requireCondition<Thing>(condition: Condition<Thing> | undefined, current: Thing): void {
  if (condition === undefined || condition(current)) return
  throw new FleetError('stale', 'the resource has changed: If-Match names another version of it')
}
