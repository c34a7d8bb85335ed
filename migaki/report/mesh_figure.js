// The meshes of a report: each figure holds a canvas with a .glb (y upwards) as base64, and a choice of what is shown.
for (const figure of document.querySelectorAll("figure.model")) {
  const canvas = figure.querySelector("canvas"), choice = figure.querySelector("select");
  const trouble = (error) => {
    figure.querySelector(".trouble").textContent = `The mesh is not shown: ${error.message}.`;
  };
  try {
    const mesh = readGlb(Uint8Array.from(atob(canvas.dataset.glb), (letter) => letter.charCodeAt(0)).buffer);
    const low = [Infinity, Infinity, Infinity], high = low.map((value) => -value);
    for (let k = 0; k < mesh.places.length; k++) {
      low[k % 3] = Math.min(low[k % 3], mesh.places[k]);
      high[k % 3] = Math.max(high[k % 3], mesh.places[k]);
    }
    const target = low.map((value, k) => (value + high[k]) / 2);
    const distance = 1.3 * Math.hypot(...low.map((value, k) => high[k] - value));
    const axes = {up: [0, 1, 0], first: [1, 0, 0], second: [0, 0, -1]};
    const place = {azimuth: 30, elevation: 25, zoom: 1}, paint = meshView(canvas, mesh);
    const draw = () => {
      fitted(canvas);
      paint(cameraAt(place, axes, target, distance, 0.42), Number(choice.value), 1, [0.94, 0.94, 0.94]);
    };
    turnable(canvas, place, draw);
    choice.addEventListener("change", draw);
    addEventListener("resize", draw);
    draw();
    paint.ready.then(() => { draw(); figure.dataset.drawn = "yes"; }).catch(trouble);
  } catch (error) { trouble(error); }
}
