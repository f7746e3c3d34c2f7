// The overview: a disagreement is handed to the owner, who settles it on the page itself.
const status = document.getElementById("status");
const token = document.querySelector("meta[name=csrf]").content;

async function settle(subject) {
  const answer = await fetch("/api/adjudicate", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": token },
    body: JSON.stringify({ subject }),
  });
  if (answer.ok) window.location.assign("/");
  else status.textContent = (await answer.json()).error;
}

for (const button of document.querySelectorAll("[data-subject]")) {
  button.addEventListener("click", (event) => {
    event.preventDefault();
    settle(button.dataset.subject).catch(() => { status.textContent = "The server cannot be reached."; });
  });
}
