import type { PipelineTools } from './pipelines/pipeline.ts'
import type { LeftWork } from './work/left-work.ts'

const RETRY_MS = 300_000
const FORGET_MS = 86_400_000

/**
 * What nobody orders. What could not be taken back is tried at once and every few minutes; what is kept for points that are no more goes some
 * minutes after the start, when this host is welcome, and every day. What fails is tried at the next time.
 * @param known those of these ids that points have
 */
export function startChores(
  { left, tools }: { readonly left: Pick<LeftWork, 'retry'>; readonly tools: PipelineTools },
  known: (ids: readonly string[]) => Promise<readonly string[]>,
): { stop(): void } {
  const { logger } = tools
  const retry = () => void left.retry(tools)
  async function forget(): Promise<void> {
    try {
      const { forgetUnknown } = await import('./pipelines/point/forget-unknown.ts')
      const dropped = await forgetUnknown(tools, known, Date.now())
      if (dropped.bases + dropped.indexes > 0) logger.info({ event: 'points.forgotten', ...dropped })
    } catch (error) {
      logger.warn({ event: 'points.unforgotten', error: String(error) })
    }
  }
  retry()
  const retrying = setInterval(retry, RETRY_MS).unref()
  const first = setTimeout(() => void forget(), RETRY_MS).unref()
  const daily = setInterval(() => void forget(), FORGET_MS).unref()
  return {
    stop() {
      clearInterval(retrying)
      clearTimeout(first)
      clearInterval(daily)
    },
  }
}
