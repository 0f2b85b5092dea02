import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { findTool } from '../../deploy/tools.ts'

export interface RestoreRun {
  readonly point: string
  readonly into: string
  /** A directory in which links to the tools are made; it becomes all of PATH. */
  readonly bin: string
  readonly identity?: string
  readonly cwd?: string
  readonly tools?: readonly string[]
  /** Of the user that runs it, in place of root. */
  readonly uid?: number
}

/** Runs a point's own script with nothing in PATH but what it says it needs. @returns its exit status and what it complained of */
export function runRestore(run: RestoreRun): { readonly status: number | null; readonly complaint: string } {
  mkdirSync(run.bin, { recursive: true })
  for (const tool of run.tools ?? ['tar', 'zstd', 'sha256sum']) {
    const path = join(run.bin, tool)
    if (!existsSync(path)) symlinkSync(findTool(tool) ?? '/nonexistent', path)
  }
  const { status, stderr } = spawnSync('/bin/sh', [join(run.point, 'restore.sh'), run.into], {
    env: { PATH: run.bin, ...(run.identity === undefined ? {} : { AGE_IDENTITY: run.identity }) },
    cwd: run.cwd,
    ...(run.uid === undefined ? {} : { uid: run.uid, gid: run.uid }),
  })
  return { status, complaint: stderr.toString() }
}
