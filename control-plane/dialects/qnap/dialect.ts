import { COMMON_STATUSES, type Dialect, type Failure } from '../../http/route.ts'
import { getLogin, login, logout, refreshLogin } from './login.ts'
import { LoginView, QnapErrorBody } from './schemas.ts'

const STATUSES = COMMON_STATUSES

function errorBody({ code, message }: Failure) {
  return { error: { code: STATUSES[code], message } }
}

export const qnap: Dialect = {
  name: 'qnap',
  title: 'Container Station API',
  version: '1',
  description: 'Logins, as QNAP Container Station has them.',
  owns: ['/container-station', '/api/v1/login', '/api/v1/login_refresh', '/api/v1/logout'],
  prefix: '/container-station',
  statuses: STATUSES,
  errorBody,
  errorSchema: QnapErrorBody,
  schemas: { Login: LoginView, Error: QnapErrorBody },
  routes: [login, getLogin, refreshLogin, logout],
}
