import type { Session } from '../../core/sessions.ts'
import type { LoginView } from './schemas.ts'

/** `YYYY-MM-DD HH:MM:SS` by the clock of a zone (IANA). */
export function zonedTime(at: Date, timezone: string): string {
  const wall = Temporal.Instant.fromEpochMilliseconds(at.getTime()).toZonedDateTimeISO(timezone).toPlainDateTime()
  return wall.toString({ smallestUnit: 'second', roundingMode: 'trunc' }).replace('T', ' ')
}

export function presentSession({ username, isAdmin, since }: Session, timezone: string): LoginView {
  return { anonymous: false, isAdmin, logintime: zonedTime(since, timezone), username }
}
