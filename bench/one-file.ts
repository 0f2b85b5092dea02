import { execFileSync } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { z } from 'zod'
import { startFleet, type TestFleet } from '../test/harness/fleet.ts'
import { LACKS, openVault, type Vault } from '../test/harness/vaults.ts'
import { mountPool } from './harness/pool.ts'
import { atMost, type Finding } from './harness/report.ts'
import { median } from './harness/statistics.ts'
import { followJobs, type WholeJobs } from './harness/whole-jobs.ts'
import { runBench, type Workbench } from './harness/workbench.ts'

/**
 * One small file out of an archive of 4 GiB that lies on a server: the whole job, from `POST /points/{id}/restore` to the feed's word
 * that it has succeeded, and what the server sent for it, counted by a proxy before the server: handshakes, listings, the index's
 * part and the data. The content does not compress, so a frame is 4 MiB; the server is on this machine.
 */
const FILES = 4_096
const FILES_IN_DIRECTORY = 64
const FILE_BYTES = 2 ** 20
const SMALL_BYTES = 65_536
const FRAME_BYTES = 4 * 2 ** 20
const JOB_MS = 1_000
const FRAMES = 2
const PROTOCOLS = ['sftp', 'webdav', 's3'] as const
/** In the middle of the archive. */
const SMALL = 'd32/small'

const HOST = 'a'

const Made = z.object({ id: z.uuid() })

const QUIET: ExecutionContext['log'] = Object.assign(() => undefined, { skip: () => undefined })

await runBench(async (workbench) => {
  const scope = { teardown: (act: () => unknown) => workbench.defer(async () => void (await act())) }
  const outside = join(workbench.folder, 'outside')
  mkdirSync(outside)
  const environment = {
    HOLDFAST_AGENT_BACKUP_ROOT: join(workbench.folder, 'backups'),
    HOLDFAST_AGENT_RESTORE_PATHS: `${outside}/`,
    HOLDFAST_AGENT_TARGET_LOOPBACK: 'true',
  }
  const agent = { name: HOST, driver: 'btrfs', path: mountPool(workbench), environment } as const
  const fleet = await startFleet({ ...scope, passed: true, log: QUIET }, { agents: [agent] })
  const jobs = await followJobs({ url: fleet.url(), token: fleet.token, defer: workbench.defer })
  const { body } = await fleet.call('POST', '/api/v1/datasets', { name: 'tree', host: HOST })
  const content = makeTree(body.mountpoint, Math.round(FILES * workbench.scale))
  const findings: Finding[] = []
  for (const protocol of PROTOCOLS) {
    const lacks = LACKS[protocol]()
    if (lacks === undefined) {
      const vault = await openVault(scope, protocol)
      findings.push(...(await measure(workbench, { fleet, jobs, outside, vault, content })))
      // Of 4 GiB each.
      await vault.kill()
    } else workbench.say(`SKIPPED: ${protocol}: ${lacks}`)
  }
  return findings
})

/** @returns what the small file holds */
function makeTree(directory: string, files: number): Buffer {
  const piece = Buffer.allocUnsafeSlow(FILE_BYTES)
  mkdirSync(join(directory, SMALL, '..'), { recursive: true })
  for (let file = 0; file < files; file += 1) {
    const parent = join(directory, `d${Math.floor(file / FILES_IN_DIRECTORY)}`)
    mkdirSync(parent, { recursive: true })
    writeFileSync(join(parent, `file-${file}`), randomFillSync(piece))
  }
  const content = Buffer.from(piece.subarray(0, SMALL_BYTES))
  writeFileSync(join(directory, SMALL), content)
  return content
}

interface Place {
  readonly fleet: TestFleet
  readonly jobs: WholeJobs
  readonly outside: string
  readonly vault: Vault
  readonly content: Buffer
}

async function measure(workbench: Workbench, place: Place): Promise<readonly Finding[]> {
  const { fleet, jobs, outside, vault, content } = place
  const { protocol, proxy } = vault
  const target = await fleet.call('POST', '/api/v1/targets', { ...vault.body, verify: 'server' })
  if (target.status !== 201) throw new Error(`no target: ${JSON.stringify(target.body)}`)
  const made = await jobs.run('/api/v1/points', { source: { dataset: 'tree' }, target: target.body.id })
  workbench.say(`${protocol}: made in ${(made.ms / 1_000).toFixed(1)} s`)
  const { id } = Made.parse(made.answer)
  // The server's disk is this machine's: a restore would wait for what the server has yet to write.
  execFileSync('/bin/sync')
  const tookMs: number[] = []
  const sentBytes: number[] = []
  for (let round = 1; round <= workbench.rounds; round += 1) {
    const path = join(outside, `${protocol}-${round}`)
    const before = proxy.answeredBytes
    const destination = { host: HOST, path }
    const { ms, jobId } = await jobs.run(`/api/v1/points/${id}/restore`, { paths: [SMALL], destination })
    if (!readFileSync(path).equals(content)) throw new Error('what was restored is not what was backed up')
    tookMs.push(ms)
    sentBytes.push(proxy.answeredBytes - before)
    const phases = [...(await jobs.phases(jobId))].map(([name, each]) => `${name} ${each.toFixed(0)}`)
    workbench.say(`${protocol} ${round}: ${ms.toFixed(0)} ms (${phases.join(', ')}), ${sentBytes.at(-1)} bytes`)
  }
  const bench = `one-file: ${protocol}`
  const bytes = Math.max(...sentBytes)
  return [
    {
      bench,
      figure: `p50 ${median(tookMs).toFixed(0)} ms, first ${tookMs[0]?.toFixed(0)} ms`,
      peer: '',
      target: atMost(median(tookMs), JOB_MS, ' ms'),
    },
    {
      bench,
      figure: `${(bytes / 2 ** 20).toFixed(2)} MiB sent`,
      peer: '',
      ratio: bytes / FRAME_BYTES,
      target: { ...atMost(bytes, FRAMES * FRAME_BYTES), words: `≤ ${FRAMES} frames` },
    },
  ]
}
