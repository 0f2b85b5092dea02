import { COMMON_STATUSES, type Dialect, type Failure } from '../../http/route.ts'
import examples from './examples.json' with { type: 'json' }
import { getLogin, login, logout, refreshLogin } from './login.ts'
import { LoginView, QnapErrorBody } from './schemas.ts'
import { listFolder, listLocalFolder, listLocalTop, listTop, pingTarget } from './target-reach.ts'
import { EntryView, TargetView } from './target-schemas.ts'
import { changeTarget, createTarget, deleteTarget, getTarget, listTargets } from './targets.ts'

const STATUSES = COMMON_STATUSES

function errorBody({ code, message, blockers }: Failure) {
  return { error: { code: STATUSES[code], message, ...(blockers ? { blockers } : {}) } }
}

export const qnap: Dialect = {
  name: 'qnap',
  title: 'Container Station API',
  version: '1',
  description: 'Logins and targets (where backups go), as QNAP Container Station has them.',
  owns: ['/container-station', '/api/v1/login', '/api/v1/login_refresh', '/api/v1/logout', '/api/v1/target'],
  prefix: '/container-station',
  statuses: STATUSES,
  errorBody,
  errorSchema: QnapErrorBody,
  schemas: { Login: LoginView, Target: TargetView, Entry: EntryView, Error: QnapErrorBody },
  examples,
  routes: [
    login,
    getLogin,
    refreshLogin,
    logout,
    createTarget,
    listTargets,
    getTarget,
    changeTarget,
    deleteTarget,
    pingTarget,
    listTop,
    listFolder,
    listLocalTop,
    listLocalFolder,
  ],
}
