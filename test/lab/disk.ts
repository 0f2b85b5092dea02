import { open } from 'node:fs/promises'

const BLOCK_BYTES = 4_096

export async function writeText(device: string, text: string): Promise<void> {
  const file = await open(device, 'r+')
  const block = Buffer.alloc(BLOCK_BYTES)
  block.write(text)
  await file.write(block, 0, block.length, 0)
  await file.sync()
  await file.close()
}

/** What was written, up to the first zero. */
export async function readText(device: string): Promise<string> {
  const file = await open(device, 'r')
  const block = Buffer.alloc(BLOCK_BYTES)
  await file.read(block, 0, block.length, 0)
  await file.close()
  return block.subarray(0, block.indexOf(0)).toString()
}
