import type { RequestMark } from './caller.ts'

/** The name of the cookie that a login sets. */
export const SESSION_COOKIE = 'holdfast_session'

/** Somebody who has logged in. */
export interface Session {
  readonly username: string
  /** May do everything in the group that is usually acted for. */
  readonly isAdmin: boolean
  readonly since: Date
}

export type LoginOutcome =
  | { readonly ok: true; readonly session: Session; readonly secret: string }
  /** Too many failures: not even looked at. */
  | { readonly ok: false; readonly retryAfterS: number }

/** Sessions of people who show a password once and a cookie from then on. */
export interface Sessions {
  /** @throws unauthorized, in the same words and time for an unknown name as for a wrong password; busy. */
  login(
    credentials: { readonly username: string; readonly password: string },
    request: RequestMark,
  ): Promise<LoginOutcome>
  /** The session of a secret, its life prolonged. @throws unauthorized. */
  refresh(secret: string): Promise<Session>
  /** Ends it, on every replica. @throws unauthorized when there is none. */
  logout(secret: string, request: RequestMark): Promise<{ readonly username: string }>
}

/** The session's secret in a `Cookie` header; undefined without one. Of several the first counts, as in RFC 6265. */
export function sessionSecretOf(cookies: string | undefined): string | undefined {
  for (const pair of cookies?.split(';') ?? []) {
    const at = pair.indexOf('=')
    if (pair.slice(0, at).trim() === SESSION_COOKIE) return pair.slice(at + 1).trim()
  }
  return undefined
}

/** A `Set-Cookie` for the browser session; an empty secret takes the cookie away. */
export function sessionCookie(secret: string, options: { readonly secure: boolean }): string {
  const attributes = ['Path=/', 'HttpOnly', 'SameSite=Strict', ...(options.secure ? ['Secure'] : [])]
  if (secret === '') attributes.push('Max-Age=0')
  return [`${SESSION_COOKIE}=${secret}`, ...attributes].join('; ')
}
