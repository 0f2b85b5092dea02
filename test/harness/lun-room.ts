import { randomUUID } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { hasTgt } from '../../agent/export/open-exports.ts'
import { createControl } from '../../agent/export/tgt/control.ts'
import { openTgtTargets } from '../../agent/export/tgt/tgt-targets.ts'
import { hasInitiator } from '../../agent/iscsi/library.ts'
import type { PipelineTools, Step, Work } from '../../agent/pipelines/pipeline.ts'
import { openWork } from '../../agent/pipelines/pipelines.ts'
import type { JobKind, JobSpec, ResultOf } from '../../shared/job-spec.ts'
import { createLogger } from '../../shared/logger.ts'
import { newBoxKeys, openSealed, sealFor } from '../../shared/sealed-box.ts'
import type { LunConnection } from '../../shared/volume-spec.ts'
import { memoryOf } from '../contracts/pipeline-contract.ts'
import { freePort } from './free-port.ts'
import { temporaryDirectory } from './loop-mount.ts'
import { pointOrders } from './point-orders.ts'
import { lacksTool } from './system-packages.ts'

const NAME = 'iqn.2026-01.test.lent'
const INITIATOR = `${NAME}:agent`
const CHAP = { user: 'agent', secret: 'secretsecret12' }
const { signal: calm } = new AbortController()

/** Why this machine can lend no LUNs, or reach none. */
export function lacksLuns(): string | undefined {
  if (!hasInitiator()) return 'libiscsi7 not installed'
  return lacksTool('tgtd') ?? (hasTgt() ? undefined : 'tgtd takes orders of root alone')
}

/** LUNs of a real tgtd, which asks for CHAP, and orders about them, run as an agent with a key of its own runs them. */
export async function lunRoom(t: Pick<ExecutionContext, 'teardown'>, address = '127.0.0.1') {
  const folder = temporaryDirectory(t)
  const port = await freePort()
  const portal = `${address}:${port}`
  const settings = { directory: join(folder, 'tgtd'), portals: [portal], outlives: false }
  const targets = openTgtTargets(settings, createLogger('agent', 'silent'))
  t.teardown(async () => {
    await targets.close()
    rmSync(settings.directory, { recursive: true, force: true })
  })
  const keys = newBoxKeys()
  const unseal = (sealed: Buffer, end: string) => openSealed(keys.privateKey, sealed, end)
  const made = await pointOrders(t, { unseal })
  const tools: PipelineTools = { ...made.tools, unseal }

  const boxOf = (jobId: string, chapSecret: string) =>
    sealFor(keys.publicKey, Buffer.from(JSON.stringify({ chapSecret })), `order/${jobId}`).toString('base64')

  return {
    ...made,
    ...{ portal, port, folder, targets },
    /** Lends what lies at `device`. */
    async lend(devices: Readonly<Record<string, string>>): Promise<void> {
      const access = { initiators: [INITIATOR], chap: CHAP }
      const wanted = Object.entries(devices).map(([name, device]) => ({
        wwn: `${NAME}.${name}`,
        device,
        guid: name,
        access,
      }))
      for (const error of await targets.apply(wanted, calm)) if (error !== undefined) throw error
    },
    /** Has tgtd change one of its targets, or the LUN of one, as no agent does. */
    async change(name: string, mode: 'target' | 'unit', ...changes: readonly string[]): Promise<void> {
      const control = createControl(join(settings.directory, 'control.0'))
      const shown = await control.ask({ mode: 'target', operation: 'show' })
      const tid = Number(new RegExp(`^Target (\\d+): ${NAME}\\.${name}$`, 'm').exec(shown)?.[1])
      const lun = mode === 'unit' ? { lun: targets.lun } : {}
      for (const params of changes) await control.ask({ mode, operation: 'update', tid, ...lun, params })
    },
    connection: (name: string, changed: Partial<LunConnection> = {}): LunConnection => ({
      ...{ portals: [portal], targetName: `${NAME}.${name}`, lun: targets.lun, initiator: INITIATOR },
      chap: { user: CHAP.user, secretId: randomUUID() },
      ...changed,
    }),
    login: (name: string, sizeBytes: number, addresses = [portal]) => ({
      ...{ addresses, targetName: `${NAME}.${name}`, lun: targets.lun, initiator: INITIATOR, chap: CHAP, sizeBytes },
    }),
    /** With a box beside the order, as the control plane seals it. */
    async order<Spec extends JobSpec>(spec: Spec, { secret = CHAP.secret, memory = memoryOf(), signal = calm } = {}) {
      const jobId = randomUUID()
      const context = { secret: boxOf(jobId, secret), signal }
      const running = made.run<JobKind>(spec, { tools, jobId, memory, context })
      return (await running) as ResultOf<Spec['kind']> // as: the kind's own pipeline answers so
    },
    /** Its work, whose steps get that box whoever runs them. */
    async open(spec: JobSpec, jobId: string): Promise<Work<JobKind>> {
      const work = await openWork<JobKind>(spec, jobId, tools)
      const secret = boxOf(jobId, CHAP.secret)
      const steps = work.steps.map((step): Step => ({ ...step, run: (context) => step.run({ ...context, secret }) }))
      return { ...work, steps }
    },
  }
}
