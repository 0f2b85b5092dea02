import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { FleetError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { ExportKeeper } from './export-keeper.ts'
import type { ExportTargets } from './exports.ts'
import { type FindVolume, openExportKeeper } from './keeper.ts'
import { openLioTargets } from './lio/lio-targets.ts'
import { NO_EXPORTS } from './no-exports.ts'
import { endLeftTgtd, TGTD } from './tgt/daemon.ts'
import { openTgtTargets } from './tgt/tgt-targets.ts'

export interface ExportSettings {
  /** Undefined: the best that is there. */
  readonly technology: 'tgt' | 'lio' | 'none' | undefined
  /** `addr:port` */
  readonly portals: readonly string[]
  readonly outlives: boolean
  /** The agent's own directory. */
  readonly state: string
}

/** @throws unavailable where the technology that was asked for is not there */
type OpenTargets = (settings: ExportSettings, logger: Logger) => Promise<ExportTargets>

const OPENERS: Record<'tgt' | 'lio', OpenTargets> = {
  async tgt({ portals, outlives, state }, logger) {
    if (!hasTgt()) throw new FleetError('unavailable', `tgt needs ${TGTD}, and an agent that is root`)
    return openTgtTargets({ directory: tgtdFolder({ state }), portals, outlives }, logger)
  },
  lio: ({ portals }) => openLioTargets({ portals }),
}

function tgtdFolder({ state }: Pick<ExportSettings, 'state'>): string {
  return join(state, 'tgtd')
}

/** tgtd takes orders of root alone. */
export function hasTgt(): boolean {
  return existsSync(TGTD) && process.getuid?.() === 0
}

/** The exports of this host; what is kept of them is made again with `restore`. */
export async function openExports(
  settings: ExportSettings,
  deps: { readonly findVolume: FindVolume; readonly logger: Logger; readonly retryMs?: number },
): Promise<ExportKeeper & AsyncDisposable> {
  const technology = settings.technology ?? (hasTgt() ? 'tgt' : 'none')
  if (technology !== 'tgt') endLeftTgtd(tgtdFolder(settings))
  if (technology === 'none') return { ...NO_EXPORTS, [Symbol.asyncDispose]: async () => undefined }
  mkdirSync(settings.state, { recursive: true, mode: 0o700 })
  const targets = await OPENERS[technology](settings, deps.logger)
  return openExportKeeper({ ...deps, targets, path: join(settings.state, 'exports.log') })
}
