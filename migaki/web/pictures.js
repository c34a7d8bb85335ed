// What pages share that are given pictures: to make them small, to take them from files, a drop or the camera.

// A picture's bytes as base64, which JSON can carry.
const encoded = (blob) => new Promise((done, failed) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result.split(",", 2)[1] || "");
  reader.onerror = () => failed(new Error("the picture cannot be read"));
  reader.readAsDataURL(blob);
});

// Draws a picture or a video's frame no longer than `longest` px, as a JPEG.
function drawn(source, width, height, longest, quality) {
  const canvas = element("canvas"), scale = Math.min(1, longest / Math.max(width, height));
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", quality));
}

// Phones' pictures are too large to send, so they are reduced here.
async function small(file, longest = 2048) {
  if (file.size <= facts.most_bytes) return file;
  const bitmap = await createImageBitmap(file);
  return drawn(bitmap, bitmap.width, bitmap.height, longest, 0.92);
}

// Calls `add` with the files that are chosen or dropped.
function onPictures(add) {
  at("files").addEventListener("change", () => { add([...at("files").files]); at("files").value = ""; });
  for (const kind of ["dragover", "dragleave", "drop"]) at("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") add([...event.dataTransfer.files]);
  });
}

// Starts the camera into the page's video, or stops it; returns whether it runs.
let stream = null;
async function switchCamera(width) {
  if (stream) {
    for (const track of stream.getTracks()) track.stop();
    stream = null;
  } else {
    try {
      stream = await navigator.mediaDevices.getUserMedia({video: {width}, audio: false});
    } catch (error) { trouble(`no camera: ${error.message}`); return false; }
    at("video").srcObject = stream;
    await at("video").play();
  }
  at("live").hidden = !stream;
  at("camera").textContent = stream ? "Stop the camera" : "Use the camera";
  return Boolean(stream);
}
