import { execFileSync } from 'node:child_process'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findTool } from '../../deploy/tools.ts'
import { type Login, onLun } from './initiator.ts'

const CHUNK_BYTES = 256 * 1024

function tool(name: string, ...args: readonly string[]): string {
  const path = findTool(name)
  if (path === undefined) throw new Error(`${name} is not installed`)
  return execFileSync(path, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** A file system of ext4 that a client of a LUN keeps: what it holds is written to the LUN as a client's kernel would. */
export function ext4Disk(folder: string, sizeBytes: number) {
  const [image, written] = [join(folder, 'ext4.raw'), join(folder, 'ext4.written')]
  writeFileSync(written, Buffer.alloc(sizeBytes))
  copyFileSync(written, image)
  tool('mkfs.ext4', '-q', '-F', '-E', 'nodiscard', image)
  return {
    /** A new file. */
    add(name: string, content: Buffer): void {
      const source = join(folder, 'content')
      writeFileSync(source, content)
      tool('debugfs', '-w', '-R', `write ${source} ${name}`, image)
    },
    /** Writes those pieces that the LUN does not hold yet. @returns how many */
    async flush(login: Login): Promise<number> {
      const [now, before] = [readFileSync(image), readFileSync(written)]
      const commands: string[] = []
      for (let at = 0; at < sizeBytes; at += CHUNK_BYTES) {
        const piece = now.subarray(at, at + CHUNK_BYTES)
        if (piece.equals(before.subarray(at, at + CHUNK_BYTES))) continue
        const source = join(folder, `piece-${at}`)
        writeFileSync(source, piece)
        commands.push(`write -s ${source} ${at} ${piece.length}`)
      }
      const said = await onLun(login, ...commands, 'flush')
      if (said === undefined) throw new Error(`${login.initiator} could not write to ${login.target}`)
      copyFileSync(image, written)
      return commands.length
    },
  }
}

/** What a file of the file system in an image holds; nothing of the image is changed. @throws where the file system is not whole */
export function readExt4(image: string, name: string): string {
  tool('e2fsck', '-f', '-n', image)
  return tool('debugfs', '-R', `cat ${name}`, image)
}
