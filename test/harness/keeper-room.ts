import { randomUUID } from 'node:crypto'
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { Chap } from '../../agent/export/export-keeper.ts'
import { openExports } from '../../agent/export/open-exports.ts'
import { createLogger } from '../../shared/logger.ts'
import { makeImage } from '../contracts/export-contract.ts'
import { freePort } from './free-port.ts'

export const INITIATOR = 'iqn.2026-01.test.keeper:alice'
const { signal } = new AbortController()
const logger = createLogger('test', 'silent')

/** A host with volumes of its own, on which agents come and go. */
export async function keeperRoom(t: ExecutionContext) {
  const state = mkdtempSync('/var/tmp/holdfast-keeper-')
  const portal = `127.0.0.1:${await freePort()}`
  const volumes = new Map<string, { readonly device: string; readonly guid: string }>()
  t.teardown(() => rmSync(state, { recursive: true, force: true }))
  t.teardown(() => {
    for (const pid of tgtds()) process.kill(pid, 'SIGKILL')
  })

  function tgtds(): readonly number[] {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
    return pids.map(Number).filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/cwd`) === join(state, 'tgtd')
      } catch {
        return false
      }
    })
  }

  return {
    ...{ state, portal, volumes, tgtds },
    log: join(state, 'exports.log'),
    /** An agent's exports, as it begins. */
    async begin({ outlives = false, technology = 'tgt' as 'tgt' | 'none' } = {}) {
      const findVolume = async ({ volume }: { readonly volume: string }) => volumes.get(volume)
      const settings = { technology, portals: [portal], outlives, state }
      const exports = await openExports(settings, { findVolume, logger, retryMs: 200 })
      await exports.restore(signal)
      t.teardown(() => exports[Symbol.asyncDispose]())
      return exports
    },
    wanted(name: string, byte: number) {
      const volume = { device: join(state, name), guid: randomUUID() }
      makeImage(volume.device, byte)
      volumes.set(name, volume)
      return {
        ...volume,
        exportId: randomUUID(),
        wwn: `iqn.2026-01.test.keeper:${name}`,
        place: { pool: 'a', volume: name },
        access: { initiators: [INITIATOR], chapUser: null },
        chap: undefined as Chap,
      }
    },
    login: ({ wwn }: { readonly wwn: string }) => ({ portal, target: wwn, lun: 1, initiator: INITIATOR }),
  }
}
