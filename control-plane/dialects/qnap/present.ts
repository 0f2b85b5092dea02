import { isTimezone } from '../../core/recurrence-schema.ts'
import type { Session } from '../../core/sessions.ts'
import type { LoginView } from './schemas.ts'

/** `YYYY-MM-DD HH:MM:SS` by the clock of a zone (IANA), or UTC where that is not known here. */
export function zonedTime(at: Date, timezone: string): string {
  const zone = isTimezone(timezone) ? timezone : 'UTC'
  const wall = Temporal.Instant.fromEpochMilliseconds(at.getTime()).toZonedDateTimeISO(zone).toPlainDateTime()
  return wall.toString({ smallestUnit: 'second', roundingMode: 'trunc' }).replace('T', ' ')
}

export function presentSession({ username, isAdmin, since }: Session, timezone: string): LoginView {
  return { anonymous: false, isAdmin, logintime: zonedTime(since, timezone), username }
}
