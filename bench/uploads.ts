import { execFileSync } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { AGENT } from '../deploy/node-flags.ts'
import { type Cost, theirs } from './harness/archive-costs.ts'
import { atLeast, type Finding } from './harness/report.ts'
import { median } from './harness/statistics.ts'
import { LACKS, openUploadServer, UPLOAD, type UploadServer } from './harness/upload-servers.ts'
import { runBench, type Workbench } from './harness/workbench.ts'

/**
 * One incompressible file of 1 GiB to a server on this machine by the agent's transfer library, beside the protocol's own client, in
 * turns. Twice: verified by what the server tells, beside the client alone, and read back and hashed, beside the client and then a
 * download into `sha256sum`. Everything written is on disk before the next begins.
 */
const FILE_BYTES = 2 ** 30
const PIECE_BYTES = 2 ** 20
const TARGET = 0.8
const PROTOCOLS = ['sftp', 'webdav', 's3'] as const
const PROGRAM = join(import.meta.dirname, 'programs/upload-run.ts')

type Verify = 'server' | 'reread'
interface Side {
  readonly name: string
  run(): Cost
}

await runBench(async (workbench) => {
  const file = join(workbench.folder, 'file')
  const mib = Math.round((FILE_BYTES / PIECE_BYTES) * workbench.scale)
  makeNoise(file, mib)
  const findings: Finding[] = []
  for (const protocol of PROTOCOLS) {
    const lacks = LACKS[protocol]()
    if (lacks === undefined) {
      const server = await openUploadServer(workbench, protocol)
      for (const verify of ['server', 'reread'] as const)
        findings.push(await compare(workbench, { protocol, server, verify, file, mib }))
    } else workbench.say(`SKIPPED: ${protocol}: ${lacks}`)
  }
  return findings
})

function makeNoise(path: string, mib: number): void {
  const fd = openSync(path, 'wx')
  const piece = Buffer.allocUnsafeSlow(PIECE_BYTES)
  for (let written = 0; written < mib; written += 1) writeSync(fd, randomFillSync(piece))
  closeSync(fd)
}

interface Contest {
  readonly protocol: string
  readonly server: UploadServer
  readonly verify: Verify
  readonly file: string
  readonly mib: number
}

async function compare(workbench: Workbench, contest: Contest): Promise<Finding> {
  const { protocol, server, verify, mib } = contest
  const sides: readonly Side[] = [
    { name: 'holdfast', run: () => ours(workbench, contest) },
    { name: server.client, run: () => peer(contest) },
  ]
  const costs = sides.map((): Cost[] => [])
  // The first round warms the caches and is not counted.
  for (let round = 0; round <= workbench.rounds; round += 1) {
    for (const turn of sides.keys()) {
      const index = (turn + round) % sides.length
      const cost = sides[index]?.run()
      if (cost !== undefined && round > 0) costs[index]?.push(cost)
      await server.remove()
      execFileSync('/bin/sync')
    }
    const last = sides.map(({ name }, index) => `${name} ${rate(mib, costs[index]?.at(-1)?.wallMs ?? Number.NaN)}`)
    workbench.say(`${protocol}, ${verify}, round ${round}: ${last.join(', ')}`)
  }
  const [own, their] = costs.map((all) => ({
    wallMs: median(all.map(({ wallMs }) => wallMs)),
    cpuMs: median(all.map(({ cpuMs }) => cpuMs)),
  }))
  if (own === undefined || their === undefined) throw new Error('no rounds')
  const ratio = their.wallMs / own.wallMs
  const cpu = ({ cpuMs }: Cost) => `CPU ${(cpuMs / 1_000).toFixed(1)} s`
  return {
    bench: `uploads: ${protocol}, ${verify}`,
    figure: `${rate(mib, own.wallMs)}, ${cpu(own)}`,
    peer: `${server.client}${verify === 'reread' ? ', read back' : ''} ${rate(mib, their.wallMs)}, ${cpu(their)}`,
    ratio,
    target: atLeast(ratio, TARGET, ' of its rate'),
  }
}

function rate(mib: number, wallMs: number): string {
  return `${((mib * 1_000) / wallMs).toFixed(0)} MiB/s`
}

function ours({ compileCache, profileFolder }: Workbench, { server, verify, file, protocol }: Contest): Cost {
  const profile =
    profileFolder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${join(profileFolder, `${protocol}-${verify}`)}`]
  const { config, secret } = server
  const told = execFileSync(process.execPath, [...AGENT.flags, ...profile, PROGRAM], {
    input: JSON.stringify({ config: { ...config, verify }, secret, file, path: UPLOAD }),
    env: { PATH: process.env.PATH, ...AGENT.environment, NODE_COMPILE_CACHE: compileCache },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  // as: the program prints exactly this
  return JSON.parse(told.toString()) as Cost
}

function peer({ server, verify, file }: Contest): Cost {
  const { put, get } = server
  const script = verify === 'server' ? put : `${put}\nsum=$(${get} | sha256sum)\n[ "$sum" = "$(sha256sum < "$1")" ]`
  return theirs(script, [file], server.environment)
}
