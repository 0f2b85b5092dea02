import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { createLogger } from '../../../shared/logger.ts'
import { type ExportSubject, exportContract, makeImage } from '../../../test/contracts/export-contract.ts'
import { freePort } from '../../../test/harness/free-port.ts'
import { lacksInitiator } from '../../../test/harness/initiator.ts'
import { lacksTool, testUnless } from '../../../test/harness/system-packages.ts'
import { hasTgt } from '../open-exports.ts'
import { openTgtTargets } from './tgt-targets.ts'

const reason = lacksTool('tgtd', 'iscsi-inq', 'iscsi-readcapacity16') ?? lacksInitiator()
const onTgt = testUnless(reason ?? (hasTgt() ? undefined : 'tgtd takes orders of root alone'))

async function open(t: ExecutionContext): Promise<ExportSubject> {
  const folder = mkdtempSync('/var/tmp/holdfast-tgt-')
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const portal = `127.0.0.1:${await freePort()}`
  const settings = { directory: join(folder, 'tgtd'), portals: [portal], outlives: false }
  const targets = openTgtTargets(settings, createLogger('test', 'silent'))
  t.teardown(() => targets.close())
  return {
    targets,
    portal,
    async volume(name, byte) {
      const device = join(folder, name)
      makeImage(device, byte)
      return { device, guid: randomUUID() }
    },
    grow: async (device, sizeBytes) => truncateSync(device, sizeBytes),
  }
}

exportContract(onTgt, open)
