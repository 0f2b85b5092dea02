import type { Session } from '../../core/sessions.ts'
import type { LoginView } from './schemas.ts'

/** `YYYY-MM-DD HH:MM:SS` in the server's zone. */
export function localTime(at: Date): string {
  const two = (value: number) => String(value).padStart(2, '0')
  const date = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join('-')
  return `${date} ${[at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(':')}`
}

export function presentSession({ username, isAdmin, since }: Session): LoginView {
  return { anonymous: false, isAdmin, logintime: localTime(since), username }
}
