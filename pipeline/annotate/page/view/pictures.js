/** The pictures of a clip: all frames small in one, and each at full size. What fails to arrive is asked for again. */

import { frameUrl, stripUrl } from "../io/api.js";
import { cool, stripWidth } from "../io/work.js";

const AGAIN_MS = 3_000;
const CELL_PX = 96;

export class Pictures {
  /**
   * @param {any} item
   * @param {{onStrip: (url: string) => void, onFrame: (frame: number) => void}} parts told of what has arrived
   */
  constructor(item, { onStrip, onFrame }) {
    this.item = item;
    this.open = true;
    const strip = stripUrl(item, stripWidth(item, CELL_PX));
    this.strip = this.#load(strip, () => onStrip(strip));
    this.frames = Array.from({ length: item.num_frames }, (_, i) => this.#load(frameUrl(item, i), () => onFrame(i)));
  }

  #load(url, arrived) {
    const image = new Image();
    image.onload = () => this.open && arrived();
    image.onerror = () => setTimeout(() => this.open && (image.src = url), AGAIN_MS);
    image.src = url;
    return image;
  }

  /** Whether a frame is there at full size. @param {number} frame */
  has(frame) {
    return this.frames[frame].naturalWidth > 0;
  }

  /** Where a frame stands in the strip. @param {number} frame */
  place(frame) {
    const { num_frames: frames, strip_columns: columns } = this.item;
    const [across, down] = [Math.min(columns, frames), Math.ceil(frames / columns)];
    return { column: frame % columns, row: Math.floor(frame / columns), across, down };
  }

  /**
   * Draws a frame: at full size, from the strip while that is on its way, or nothing; never another frame.
   *
   * @param {HTMLCanvasElement} canvas
   * @param {number} frame
   * @returns {boolean} whether it was the full size
   */
  draw(canvas, frame) {
    const context = canvas.getContext("2d");
    const [width, height] = [canvas.width, canvas.height];
    if (this.has(frame)) {
      context.drawImage(this.frames[frame], 0, 0, width, height);
      return true;
    }
    context.clearRect(0, 0, width, height);
    if (this.strip.naturalWidth > 0) {
      const { column, row, across, down } = this.place(frame);
      const [wide, high] = [this.strip.naturalWidth / across, this.strip.naturalHeight / down];
      context.drawImage(this.strip, column * wide, row * high, wide, high, 0, 0, width, height);
    }
    return false;
  }

  /** Asks for nothing any more. */
  close() {
    this.open = false;
    cool([this.strip, ...this.frames]);
  }
}
