import { COMMON_STATUSES, type Dialect, type Failure } from '../../http/route.ts'
import { BackupView, RestoreView } from './backup-schemas.ts'
import { changeBackup, createBackup, deleteBackup, getBackup, listBackups, runBackup, stopBackup } from './backups.ts'
import examples from './examples.json' with { type: 'json' }
import backupExamples from './examples-backups.json' with { type: 'json' }
import { createLoginRoutes } from './login.ts'
import { createProgressRoute } from './progress.ts'
import { createRestoreRoutes } from './restores.ts'
import { LoginView, QnapErrorBody } from './schemas.ts'
import { listFolder, listLocalFolder, listLocalTop, listTop, pingTarget } from './target-reach.ts'
import { EntryView, TargetView } from './target-schemas.ts'
import { changeTarget, createTarget, deleteTarget, getTarget, listTargets } from './targets.ts'

const STATUSES = COMMON_STATUSES

function errorBody({ code, message, blockers }: Failure) {
  return { error: { code: STATUSES[code], message, ...(blockers ? { blockers } : {}) } }
}

/** @param timezone the server's (IANA): of times that have no other. */
export function createQnapDialect({ timezone }: { readonly timezone: string }): Dialect {
  return {
    name: 'qnap',
    title: 'Container Station API',
    version: '1',
    description:
      'Logins, targets (where backups go), backup schedules and restores, as QNAP Container Station has them.',
    owns: [
      '/container-station',
      '/api/v1/login',
      '/api/v1/login_refresh',
      '/api/v1/logout',
      '/api/v1/target',
      '/api/v1/backup',
      '/api/v1/restore',
    ],
    prefix: '/container-station',
    statuses: STATUSES,
    errorBody,
    errorSchema: QnapErrorBody,
    schemas: {
      Login: LoginView,
      Target: TargetView,
      Entry: EntryView,
      Backup: BackupView,
      Restore: RestoreView,
      Error: QnapErrorBody,
    },
    examples: [...examples, ...backupExamples],
    routes: [
      ...createLoginRoutes(timezone),
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
      createBackup,
      listBackups,
      createProgressRoute(),
      getBackup,
      changeBackup,
      runBackup,
      stopBackup,
      deleteBackup,
      ...createRestoreRoutes(timezone),
    ],
  }
}
