import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { FleetError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { ExportKeeper } from './export-keeper.ts'
import { wwnsIn } from './export-log.ts'
import type { ExportTargets } from './exports.ts'
import { type FindVolume, openExportKeeper } from './keeper.ts'
import { hasLio, openLioTargets } from './lio/lio-targets.ts'
import { openNoExports } from './no-exports.ts'
import { endLeftTgtd, TGTD } from './tgt/daemon.ts'
import { openTgtTargets } from './tgt/tgt-targets.ts'

/** How long targets of another setting are taken down at most. */
const CLOSE_MS = 120_000

export interface ExportSettings {
  /** Undefined: the best that is there. */
  readonly technology: 'tgt' | 'lio' | 'none' | undefined
  /** `addr:port` */
  readonly portals: readonly string[]
  readonly outlives: boolean
  /** The agent's own directory. */
  readonly state: string
  /** Where the kernel's target has its configuration, if not where it always has. */
  readonly lioRoot?: string
}

/** @throws unavailable where the kernel has no target */
type OpenTargets = (settings: ExportSettings, logger: Logger) => Promise<ExportTargets>

const OPENERS: Record<'tgt' | 'lio', OpenTargets> = {
  async tgt(settings, logger) {
    const { portals, outlives } = settings
    return openTgtTargets({ directory: tgtdFolder(settings), portals, outlives }, logger)
  },
  lio: ({ portals, lioRoot }) => openLioTargets({ portals, ...(lioRoot === undefined ? {} : { root: lioRoot }) }),
}

function tgtdFolder({ state }: Pick<ExportSettings, 'state'>): string {
  return join(state, 'tgtd')
}

/** tgtd takes orders of root alone. */
export function hasTgt(): boolean {
  return existsSync(TGTD) && process.getuid?.() === 0
}

/**
 * What this host exports with. One that keeps exports, and whose tgtd is not there now, exports nothing until it is, and says so: `none`
 * would have them deleted without that anybody looked.
 * @throws unavailable where tgt was asked for and is not there
 */
export function chosenTechnology(
  asked: ExportSettings['technology'],
  host: { readonly hasTgt: boolean; readonly keepsExports: boolean },
): 'tgt' | 'lio' | 'none' {
  if (asked === undefined) return host.hasTgt || host.keepsExports ? 'tgt' : 'none'
  if (asked === 'tgt' && !host.hasTgt) {
    throw new FleetError('unavailable', `tgt needs ${TGTD}, and an agent that is root`)
  }
  return asked
}

/** The exports of this host; what is kept of them is made again with `restore`. What an agent with another setting left open is closed. */
export async function openExports(
  settings: ExportSettings,
  deps: { readonly findVolume: FindVolume; readonly logger: Logger; readonly retryMs?: number },
): Promise<ExportKeeper & AsyncDisposable> {
  const path = join(settings.state, 'exports.log')
  const kept = wwnsIn(path)
  const technology = chosenTechnology(settings.technology, { hasTgt: hasTgt(), keepsExports: kept.length > 0 })
  if (technology !== 'tgt') endLeftTgtd(tgtdFolder(settings))
  if (technology !== 'lio') await closeLio(kept, settings, deps.logger)
  if (technology === 'none') return openNoExports(path)
  mkdirSync(settings.state, { recursive: true, mode: 0o700 })
  const targets = await OPENERS[technology](settings, deps.logger)
  return openExportKeeper({ ...deps, targets, path })
}

/** Of the targets in the kernel those that this agent keeps: every target of its own is kept before it is made, and until it is gone. */
async function closeLio(kept: readonly string[], settings: ExportSettings, logger: Logger): Promise<void> {
  if (kept.length === 0 || !(await hasLio(settings.lioRoot))) return
  const signal = AbortSignal.timeout(CLOSE_MS)
  const targets = await OPENERS.lio(settings, logger)
  const standing = await targets.list(signal, kept)
  const failures = await targets.remove(
    standing.map(({ wwn }) => ({ wwn, force: true })),
    signal,
  )
  await targets.close()
  const left = failures.filter((failure) => failure !== undefined)
  if (left.length > 0) logger.error({ event: 'exports.left_open', count: left.length, err: left[0] })
}
