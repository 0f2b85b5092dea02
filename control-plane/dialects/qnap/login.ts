import { FleetError } from '../../../shared/errors.ts'
import { sessionCookie, sessionSecretOf } from '../../core/sessions.ts'
import { type HandlerRequest, type Method, route, WireError } from '../../http/route.ts'
import { presentSession } from './present.ts'
import { LoginBody, LoginView, LogoutView } from './schemas.ts'

const TOO_MANY_REQUESTS = 429

/** @throws unauthorized without a session: a token or a network has none. */
function secretOf({ headers }: HandlerRequest): string {
  const secret = sessionSecretOf(headers.cookie)
  if (secret) return secret
  throw new FleetError('unauthorized', 'there is no session: log in')
}

/** @param timezone the server's: of the times that are shown. */
export function createLoginRoutes(timezone: string) {
  const login = route({
    operation: 'login',
    method: 'POST',
    path: '/api/v1/login',
    summary: 'Log in',
    description: 'The answer sets a cookie that the other requests carry. Ten failures a minute from one address: 429.',
    access: 'public',
    sameSite: true,
    status: 200,
    form: true,
    body: LoginBody,
    result: LoginView,
    errors: [401, TOO_MANY_REQUESTS],

    async handle({ body, from }, core) {
      const outcome = await core.sessions.login(body, from.mark)
      if (outcome.ok) {
        const headers = { 'Set-Cookie': sessionCookie(outcome.secret, { secure: from.isSecure }) }
        return { status: 200, body: presentSession(outcome.session, timezone), headers }
      }
      const message = `too many failed logins; try again in ${outcome.retryAfterS} s`
      const headers = { 'Retry-After': String(outcome.retryAfterS) }
      throw new WireError(TOO_MANY_REQUESTS, { error: { code: TOO_MANY_REQUESTS, message } }, { headers })
    },
  })

  /** Public, because somebody without a role anywhere has a session all the same; the session itself is checked in core. */
  function refresh(method: Method, operation: string) {
    return route({
      operation,
      method,
      path: '/api/v1/login_refresh',
      summary: 'The session, its life prolonged',
      access: 'public',
      sameSite: true,
      status: 200,
      result: LoginView,
      errors: [401],

      async handle(request, core) {
        return { status: 200, body: presentSession(await core.sessions.refresh(secretOf(request)), timezone) }
      },
    })
  }

  const getLogin = refresh('GET', 'getLogin')
  const refreshLogin = refresh('PUT', 'refreshLogin')

  const logout = route({
    operation: 'logout',
    method: 'PUT',
    path: '/api/v1/logout',
    summary: 'End the session',
    access: 'public',
    sameSite: true,
    status: 200,
    result: LogoutView,
    errors: [401],

    async handle(request, core) {
      const { username } = await core.sessions.logout(secretOf(request), request.from.mark)
      const headers = { 'Set-Cookie': sessionCookie('', { secure: request.from.isSecure }) }
      return { status: 200, body: { username }, headers }
    },
  })

  return [login, getLogin, refreshLogin, logout]
}
